import type { CaptureOptions } from '../ports/driver.js';

/** What the caller does within the pause; a failure, however it comes, is a rejection. */
export async function atRest({ whilePaused }: Pick<CaptureOptions, 'whilePaused'>): Promise<void> {
  await whilePaused?.();
}

/** Waits for all, so that nothing works on a VM that goes on. @throws the first failure */
export async function allEnded(...work: readonly Promise<unknown>[]): Promise<void> {
  const failed = (await Promise.allSettled(work)).find((result) => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}
