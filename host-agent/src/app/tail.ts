import { open } from 'node:fs/promises';
import { errnoOf } from '@offshoot/shared/errors.js';

/** Last bytes of a text file, whole lines; empty when there is none. For error messages. */
export async function tailOf(path: string, maxBytes = 2048): Promise<string> {
  try {
    await using handle = await open(path, 'r');
    const { size } = await handle.stat();
    const start = Math.max(0, size - maxBytes);
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(size - start), 0, size - start, start);
    const text = buffer.subarray(0, bytesRead).toString('utf8');
    return (start === 0 ? text : text.slice(text.indexOf('\n') + 1)).trimEnd();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return '';
    throw error;
  }
}
