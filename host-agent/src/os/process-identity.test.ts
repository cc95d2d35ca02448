import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { isAlive, killProcess, processEnded, startTimeOf } from './process-identity.js';

/** A process whose name has brackets and blanks in it, which field counting must survive. */
const sleeper = () => spawn('sleep', ['600'], { argv0: 'a) Z 1 (b', stdio: 'ignore' });

/** Its first thread ends at once; another one answers each line on its standard input, until that ends. */
const OUTLIVED = `
import ctypes, os, threading
def answer():
    os.write(1, b'.')
    while os.read(0, 1): os.write(1, b'.')
threading.Thread(target=answer).start()
ctypes.CDLL(None).pthread_exit(None)
`;

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

  it('has not ended as long as any of its threads lives, also when the first one is over', async () => {
    const child = spawn('python3', ['-c', OUTLIVED], { stdio: ['pipe', 'pipe', 'inherit'] });
    const identity = { pid: child.pid!, startTime: startTimeOf(child.pid!)! };
    await once(child.stdout, 'data');
    while (isAlive(identity)) await new Promise(setImmediate);
    let isOver = false;
    const ended = processEnded(identity).then(() => (isOver = true));
    // Its other thread answers: what it has open, it has still.
    child.stdin.write('\n');
    await once(child.stdout, 'data');
    expect(isOver).toBe(false);
    child.stdin.end();
    await ended;
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
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
