import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { Conflict, errnoOf } from '@offshoot/shared/errors.js';
import { LOCK_EX, LOCK_NB, flock } from '../os/libc.js';
import { abortedBy } from './tool.js';

/**
 * Runs `action` as the only process on this machine that builds images in a directory. Waits until that is so; a process
 * that dies lets go of the lock.
 * @param path of the lock file, made when missing and never removed
 */
export async function withBuildLock<Result>(
  path: string,
  signal: AbortSignal,
  action: () => Promise<Result>,
): Promise<Result> {
  const descriptor = openSync(path, 'a', 0o600);
  try {
    if (!tryLock(descriptor))
      // flock(2) blocks, which here would be the whole daemon. The lock belongs to the open file, not to the process
      // that asked for it: a child with our descriptor waits, and ends as soon as we have it.
      await waitForLock(descriptor, signal);
    return await action();
  } finally {
    closeSync(descriptor);
  }
}

/** The same where nobody has the lock, and nothing otherwise. */
export async function unlessLocked(path: string, action: () => Promise<void>): Promise<void> {
  const descriptor = openSync(path, 'a', 0o600);
  try {
    if (tryLock(descriptor)) await action();
  } finally {
    closeSync(descriptor);
  }
}

function tryLock(descriptor: number): boolean {
  try {
    flock(descriptor, LOCK_EX | LOCK_NB);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'EWOULDBLOCK' || errnoOf(error) === 'EAGAIN') return false;
    throw error;
  }
}

/** flock(1) of util-linux, which every Debian has. Not by execa, whose types have no descriptors but 0 to 9. */
async function waitForLock(descriptor: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const child = spawn('flock', ['--exclusive', '0'], { stdio: [descriptor, 'ignore', 'ignore'], signal });
  try {
    const [code] = (await once(child, 'exit')) as [number | null];
    if (code === 0) return;
    throw new Conflict(`flock(1) ended with status ${String(code)} instead of waiting for the image build lock`, {
      reason: 'IMAGE_BUILD_LOCK',
    });
  } catch (error) {
    if (signal.aborted) throw abortedBy(signal);
    throw error;
  }
}
