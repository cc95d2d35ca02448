import { readdir } from 'node:fs/promises';
import { errnoOf } from '@offshoot/shared/errors.js';

/** What is in a folder of the state directory, but for what is on its way in or out. */
export async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).filter((name) => !name.startsWith('.'));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}
