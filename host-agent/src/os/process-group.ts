import { setTimeout as delay } from 'node:timers/promises';
import { errnoOf } from '@offshoot/shared/errors.js';

/** A killed process is gone within this, unless nobody reaps it; milliseconds. */
const GONE_WITHIN_MS = 1000;
/** Nothing tells the end of a process that is not a child; this is how often it is looked for. */
const LOOK_EVERY_MS = 1;

/**
 * Kills every process of a group, if there still is one. Its number is nobody else's while the group's leader has not been
 * reaped, or has only just been.
 */
export function killGroup(group: number): void {
  signalled(group, 'SIGKILL');
}

/** Waits until a killed group has nobody left. */
export async function groupEnded(group: number): Promise<void> {
  const deadline = performance.now() + GONE_WITHIN_MS;
  while (signalled(group, 0) && performance.now() < deadline) await delay(LOOK_EVERY_MS);
}

/** @returns whether there was anybody */
function signalled(group: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(-group, signal);
  } catch (error) {
    // Another user's is none of ours: the number has been given away.
    if (errnoOf(error) === 'ESRCH' || errnoOf(error) === 'EPERM') return false;
    throw error;
  }
}
