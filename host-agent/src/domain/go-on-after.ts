import { Unreachable, messageOf } from '@offshoot/shared/errors.js';

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
