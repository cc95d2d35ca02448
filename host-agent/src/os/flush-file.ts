import { open } from 'node:fs/promises';

/** Writes one file's data, or a block device's, through to its medium; that of other files waits. */
export async function flushFile(path: string): Promise<void> {
  await using file = await open(path, 'r');
  await file.datasync();
}
