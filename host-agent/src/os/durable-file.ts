import { randomUUID } from 'node:crypto';
import { open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** Makes names created or removed in a directory survive a power cut. */
export async function syncDirectory(directory: string): Promise<void> {
  await using handle = await open(directory, 'r');
  await handle.sync();
}

/**
 * Replaces a file whole: a reader sees the old content or the new, never a part.
 * @param durable also survive a power cut (fsync of file and directory). Without it the content is safe against the death
 *   of any process; an fsync waits for the disk, and on ext4 for other files' data too, so hot paths leave it out.
 */
export async function replaceFile(
  path: string,
  content: string | Buffer,
  { durable }: { durable: boolean },
): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomUUID()}.tmp`);
  try {
    {
      await using handle = await open(temporary, 'wx', 0o600);
      await handle.writeFile(content);
      if (durable) await handle.sync();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  if (durable) await syncDirectory(dirname(path));
}
