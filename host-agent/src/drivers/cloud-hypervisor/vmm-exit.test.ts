import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Unreachable } from '@offshoot/shared/errors.js';
import { describe, expect, it } from 'vitest';
import { startTimeOf } from '../../os/process-identity.js';
import type { VmExit } from '../../ports/driver.js';
import type { VmmEvent, VmmEvents } from './vmm-events.js';
import { endWithGuest, exitOfChild, type VmmSigns } from './vmm-exit.js';

const killed: VmExit = { code: null, signal: 'SIGKILL', logTail: 'log' };

const answers = (): Promise<boolean> => Promise.resolve(false);
const isGone = (): Promise<boolean> => Promise.reject(new Unreachable('hung up', { reason: 'VMM_GONE' }));

function signsOf(events: readonly VmmEvent[]): VmmSigns {
  return {
    identity: { pid: 1, startTime: 'never' },
    events: {
      has: (event: VmmEvent) => events.includes(event),
      onEvent: (listener: (event: VmmEvent) => void) => {
        events.forEach(listener);
      },
      closed: Promise.resolve({ here: false }),
    } as unknown as VmmEvents,
    console: { closed: Promise.resolve(), close: () => undefined },
  };
}

describe('the end of a VMM', () => {
  it.each([
    ['powered-off', ['vm booted', 'vm shutdown']],
    ['reset', ['vm booted', 'vm rebooting', 'vmm shutdown']],
    // A kernel that panics resets the machine then.
    ['panicked', ['vm rebooting', 'guest panic']],
    ['told-to', ['vm booted', 'vm shutdown', 'vm deleted', 'vmm shutdown']],
  ] as const)('is in order where the guest or somebody meant it: %s', async (cause, events) => {
    const exit = await exitOfChild(Promise.resolve(killed), signsOf(events));
    expect(exit).toEqual({ code: 0, signal: null, cause, logTail: 'log' });
  });

  it('is what it was when nothing was said', async () => {
    expect(await exitOfChild(Promise.resolve(killed), signsOf(['vm booted', 'vm paused']))).toBe(killed);
  });

  it.each([
    ['the guest panicked', 'guest panic', answers, true],
    ['the guest reset the machine', 'vm rebooting', answers, true],
    ['the guest powered off, which its VMM outlives', 'vm shutdown', answers, true],
    ['the VMM ends itself', 'vm shutdown', isGone, false],
    ['nothing ended', 'vm paused', answers, false],
  ] as const)('is brought about when the guest has ended: %s', async (_, event, isRunning, ends) => {
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
    const identity = { pid: child.pid!, startTime: startTimeOf(child.pid!)! };
    const ended = once(child, 'exit');
    endWithGuest({ ...signsOf([event]), identity }, { isRunning });
    await nextTurn();
    expect(child.kill('SIGTERM')).toBe(true);
    expect(await ended).toEqual([null, ends ? 'SIGKILL' : 'SIGTERM']);
  });
});
