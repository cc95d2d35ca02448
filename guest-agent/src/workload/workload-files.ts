import { chmod, mkdir, open } from 'node:fs/promises';
import { dirname, isAbsolute, normalize } from 'node:path';
import { InvalidInput } from '@offshoot/shared/errors.js';

export interface GuestFile {
  readonly path: string;
  /** Permission bits. */
  readonly mode: number;
  readonly content: Buffer;
}

/** All files of a workload together, in bytes. */
export const MAX_FILES_BYTES = 1024 * 1024;
const MAX_FILES = 256;

/** Checks everything, then writes the files and the folders they need. @throws InvalidInput naming the file */
export async function writeWorkloadFiles(files: readonly GuestFile[]): Promise<void> {
  const bytes = files.reduce((sum, { content }) => sum + content.length, 0);
  if (files.length > MAX_FILES || bytes > MAX_FILES_BYTES)
    throw InvalidInput.field(
      'files',
      `at most ${String(MAX_FILES)} files of ${String(MAX_FILES_BYTES)} bytes together, got ${String(files.length)} of ${String(bytes)}`,
    );
  files.forEach(({ path, mode }, i) => {
    const field = `files[${String(i)}]`;
    if (!isAbsolute(path) || path.endsWith('/') || path.includes('\0') || normalize(path) !== path)
      throw InvalidInput.field(
        `${field}.path`,
        `must be an absolute path without . and .., got ${JSON.stringify(path)}`,
      );
    if (mode < 0 || mode > 0o7777)
      throw InvalidInput.field(`${field}.mode`, 'must be permission bits, at most 7777 octal');
  });
  for (const { path, mode, content } of files) {
    await mkdir(dirname(path), { recursive: true });
    const file = await open(path, 'w', 0o600);
    try {
      await file.writeFile(content);
    } finally {
      await file.close();
    }
    await chmod(path, mode); // after the content, and free of the umask
  }
}
