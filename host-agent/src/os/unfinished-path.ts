import { chmod, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '@offshoot/shared/errors.js';

/** A file or directory in the making: leaving the block removes it with all that is in it, unless {@link keep} was called. */
export class UnfinishedPath implements AsyncDisposable {
  private kept = false;

  constructor(private readonly path: string) {}

  /** It is whole, or has got another name. */
  keep(): void {
    this.kept = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.kept) return;
    try {
      await remove(this.path);
    } catch (error) {
      if (errnoOf(error) !== 'EACCES') throw error;
      await makeWritable(this.path);
      await remove(this.path);
    }
  }
}

const remove = (path: string): Promise<void> => rm(path, { recursive: true, force: true });

/** Only root can empty a directory that has got a mode without w. */
async function makeWritable(directory: string): Promise<void> {
  await chmod(directory, 0o700);
  for (const entry of await readdir(directory, { withFileTypes: true }))
    if (entry.isDirectory()) await makeWritable(join(directory, entry.name));
}
