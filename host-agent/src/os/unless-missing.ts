import { errnoOf } from '@offshoot/shared/errors.js';

/** Undefined where a file was to be there and is not. */
export async function unlessMissing<Value>(work: Promise<Value>): Promise<Value | undefined> {
  try {
    return await work;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
