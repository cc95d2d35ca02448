import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { isAlive, killProcess, processEnded, startTimeOf } from './process-identity.js';

/** A process whose name has brackets and blanks in it, which field counting must survive. */
const sleeper = () => spawn('sleep', ['600'], { argv0: 'a) Z 1 (b', stdio: 'ignore' });

describe('the identity of a process', () => {
  it('holds while it runs, for no other process, and not for its remains', async () => {
    const child = sleeper();
    const identity = { pid: child.pid!, startTime: startTimeOf(child.pid!)! };
    expect(identity.startTime).toMatch(/^\d+$/);
    expect(isAlive(identity)).toBe(true);
    expect(isAlive({ ...identity, startTime: '1' })).toBe(false);
    const ended = processEnded(identity);
    killProcess(identity);
    await ended;
    expect(isAlive(identity)).toBe(false);
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    await processEnded(identity);
  });

  it('keeps a later process with the same number from being killed', async () => {
    const child = sleeper();
    killProcess({ pid: child.pid!, startTime: '1' });
    await processEnded({ pid: child.pid!, startTime: '1' });
    expect(child.kill(0)).toBe(true);
    child.kill('SIGKILL');
    expect((await once(child, 'exit'))[1]).toBe('SIGKILL');
  });
});
