import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { Corrupt, messageOf } from '@offshoot/shared/errors.js';
import { parseImageId } from '../domain/ids.js';
import type { Image } from '../ports/image-store.js';

/** Grows when the files of an image, or their meaning, change: images of other layouts are not looked at. */
export const LAYOUT_VERSION = 2;

/** Files of an image's folder. */
export const IMAGE_FILES = {
  rootDisk: 'rootfs.ext4',
  vmlinuz: 'vmlinuz',
  vmlinux: 'vmlinux',
  initrd: 'initrd',
  record: 'image.json',
} as const;

const record = z.object({
  layout: z.literal(LAYOUT_VERSION),
  id: z.string(),
  name: z.string(),
  kernelRelease: z.string(),
  kernelParameters: z.string(),
  createdAt: z.iso.datetime(),
  /** Sizes in bytes: a file cut short is noticed without reading it. */
  bytes: z.object({ rootDisk: z.number(), vmlinuz: z.number(), vmlinux: z.number(), initrd: z.number() }),
  /** What it was made of, for people. */
  inputs: z.record(z.string(), z.string()),
});

/** What `image.json` says. */
export type ImageRecord = z.infer<typeof record>;

/** @throws Corrupt when `image.json` or a file it speaks of is absent or not as it should be */
export async function readImage(folder: string, expectedId: string): Promise<Image> {
  try {
    const { id, bytes, ...rest } = record.parse(JSON.parse(await readFile(join(folder, IMAGE_FILES.record), 'utf8')));
    if (id !== expectedId) throw new Error(`image.json is of the image ${id}`);
    const paths = {
      rootDisk: join(folder, IMAGE_FILES.rootDisk),
      vmlinuz: join(folder, IMAGE_FILES.vmlinuz),
      vmlinux: join(folder, IMAGE_FILES.vmlinux),
      initrd: join(folder, IMAGE_FILES.initrd),
    };
    let allocated = 0;
    for (const part of ['rootDisk', 'vmlinuz', 'vmlinux', 'initrd'] as const) {
      const { size, blocks } = await stat(paths[part]);
      if (size !== bytes[part]) throw new Error(`${paths[part]} has ${size} bytes instead of ${bytes[part]}`);
      // st_blocks counts 512 bytes whatever the file system's block is (stat(2)).
      if (part === 'rootDisk') allocated = blocks * 512;
    }
    return {
      id: parseImageId(id),
      name: rest.name,
      kernelRelease: rest.kernelRelease,
      kernelParameters: rest.kernelParameters,
      createdAt: rest.createdAt,
      ...paths,
      diskBytes: bytes.rootDisk,
      diskAllocatedBytes: allocated,
    };
  } catch (error) {
    throw new Corrupt(`the image in ${folder} is damaged: ${messageOf(error)}`, {
      reason: 'IMAGE_CORRUPT',
      metadata: { image: expectedId },
      cause: error,
    });
  }
}
