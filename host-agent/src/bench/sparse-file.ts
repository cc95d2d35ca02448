import { randomBytes } from 'node:crypto';
import { open } from 'node:fs/promises';

/**
 * Makes a file of which every other stretch is data, the first one among them, and the rest holes. The data is on the disk
 * when this resolves, so that writing it back falls into nobody's measurement.
 * @param stretchBytes 0 for nothing but a hole
 */
export async function makeSparseFile(path: string, bytes: number, stretchBytes: number): Promise<void> {
  await using file = await open(path, 'wx');
  await file.truncate(bytes);
  if (stretchBytes > 0) {
    const stretch = randomBytes(stretchBytes);
    for (let at = 0; at < bytes; at += 2 * stretchBytes)
      await file.write(stretch, 0, Math.min(stretchBytes, bytes - at), at);
  }
  await file.sync();
}
