import { Unreachable, messageOf } from '@offshoot/shared/errors.js';
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

/**
 * Lets a VM go on after its capture failed.
 * @param goOn settles when it goes on as before, and nothing of the capture is under way any more
 * @throws Unreachable with both reasons when it cannot
 */
export async function goOnAfter(error: unknown, goOn: () => Promise<unknown>): Promise<void> {
  try {
    await goOn();
  } catch (resumeError) {
    throw new Unreachable(
      `the capture failed (${messageOf(error)}), and the VM could not be resumed: ${messageOf(resumeError)}`,
      { reason: 'RESUME_FAILED', cause: new AggregateError([error, resumeError]) },
    );
  }
}
