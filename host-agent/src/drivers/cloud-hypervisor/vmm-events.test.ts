import { closeSync, constants, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makeFifo } from '../../os/libc.js';
import { VmmEvents } from './vmm-events.js';

const said = (source: string, event: string): string =>
  `${JSON.stringify({ timestamp: { secs: 0, nanos: 1 }, source, event, properties: null }, null, 2)}\n\n`;
const never = AbortSignal.timeout(20_000);

describe('what a VMM says', () => {
  let directory: string;
  let vmm: number;
  let events: VmmEvents;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'events-'));
    const path = join(directory, 'events');
    makeFifo(path, 0o600);
    // As a VMM has it: also for reading, without blocking.
    vmm = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
    events = VmmEvents.of(path);
  });
  afterEach(() => {
    events.close();
    rmSync(directory, { recursive: true });
  });

  it('is heard whenever it is said, in pieces or at once', async () => {
    const text = said('vm', 'booting') + said('vm', 'booted');
    const waiting = events.said('vm booted', never);
    for (const half of [text.slice(0, 30), text.slice(30)]) writeSync(vmm, half);
    expect(await waiting).toBe(true);
    expect(await events.said('vm booting', never)).toBe(true);
    expect(events.has('vm restored')).toBe(false);
    closeSync(vmm);
    expect(await events.closed).toEqual({ here: false });
  });

  it('is known to its end when the VMM is gone', async () => {
    const waiting = events.said('vm restored', never);
    writeSync(vmm, said('vm', 'restoring') + said('vmm', 'shutdown'));
    closeSync(vmm);
    expect(await waiting).toBe(false);
    expect(events.has('vmm shutdown')).toBe(true);
  });

  it('is told once to those who listen, also what was said before', async () => {
    writeSync(vmm, said('guest', 'panic') + said('guest', 'panic'));
    await events.said('guest panic', never);
    const heard: string[] = [];
    events.onEvent((event) => heard.push(event));
    writeSync(vmm, said('guest', 'panic') + said('vm', 'rebooting'));
    await events.said('vm rebooting', never);
    expect(heard).toEqual(['guest panic', 'vm rebooting']);
    closeSync(vmm);
  });

  it('is not heard when it was cut short, and does not spoil what comes after', async () => {
    writeSync(vmm, `{"source": "vm", "ev\n\nnonsense\n\n7\n\n${said('vm', 'paused')}`);
    expect(await events.said('vm paused', never)).toBe(true);
    closeSync(vmm);
  });

  it('is waited for until the wait is cancelled', async () => {
    const cancel = new AbortController();
    const waiting = events.said('vm booted', cancel.signal);
    cancel.abort(new Error('no longer wanted'));
    await expect(waiting).rejects.toThrow('no longer wanted');
    await expect(events.said('vm booted', cancel.signal)).rejects.toThrow('no longer wanted');
    closeSync(vmm);
  });

  it('no longer concerns one who has hung up', async () => {
    events.close();
    expect(await events.closed).toEqual({ here: true });
    closeSync(vmm);
  });
});
