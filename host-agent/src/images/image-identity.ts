import { createHash } from 'node:crypto';

/** Seconds since 1970 every file we add to a guest is dated with: any fixed value makes equal inputs give equal disks. */
export const IMAGE_TIME = 1_700_000_000;

/** An RFC 4122 name-like UUID out of an image's id, for its file system. */
export const diskUuid = (id: string): string => {
  const hex = createHash('sha256').update(`ext4 ${id}`).digest('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), `8${hex.slice(13, 16)}`, `8${hex.slice(17, 20)}`, hex.slice(20, 32)].join(
    '-',
  );
};
