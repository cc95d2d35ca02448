import { mkdtemp, readFile, readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InvalidState, Unreachable } from '@offshoot/shared/errors.js';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ROTATE_AT_BYTES } from '../vmm-log.js';
import { ConsoleRotation, rotateConsole } from './console-rotation.js';
import type { QmpClient } from './qmp-client.js';

describe('the rotation of a console log', () => {
  let logDirectory: string;
  let log: string;
  beforeEach(async () => {
    logDirectory = await mkdtemp(join(tmpdir(), 'offshoot-console-'));
    log = join(logDirectory, 'console.log');
    await writeFile(log, 'old');
  });
  afterEach(async () => {
    vi.useRealTimers();
    await rm(logDirectory, { recursive: true });
  });

  const answering = (run: QmpClient['run']): QmpClient => ({ run }) as Partial<QmpClient> as QmpClient;

  it('leaves the log as it was where QEMU goes on in it', async () => {
    await truncate(log, ROTATE_AT_BYTES);
    const refused = new InvalidState('QEMU refused chardev-change: no', { reason: 'HYPERVISOR_REFUSED' });
    await expect(
      rotateConsole(
        answering(() => Promise.reject(refused)),
        { logDirectory },
      ),
    ).rejects.toBe(refused);
    expect(await readdir(logDirectory)).toEqual(['console.log']);
    expect((await readFile(log)).length).toBe(ROTATE_AT_BYTES);
  });

  it('keeps both where nobody knows in which QEMU goes on', async () => {
    await truncate(log, ROTATE_AT_BYTES);
    const gone = new Unreachable('QEMU is gone', { reason: 'VMM_GONE' });
    await expect(
      rotateConsole(
        answering(() => Promise.reject(gone)),
        { logDirectory },
      ),
    ).rejects.toBe(gone);
    expect((await readdir(logDirectory)).sort()).toEqual(['console.log', 'console.log.1']);
  });

  it('asks for nothing where there is no log any more', async () => {
    await rm(log);
    const asked = vi.fn<QmpClient['run']>();
    expect(await rotateConsole(answering(asked), { logDirectory })).toBe(false);
    expect(asked).not.toHaveBeenCalled();
  });

  it('is looked for now and then, of the VMM that there is then, until nobody needs it', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    await truncate(log, ROTATE_AT_BYTES);
    const asked: string[] = [];
    let heard: () => void = () => undefined;
    const vmm = (name: string): QmpClient =>
      answering((command) => {
        asked.push(`${name}: ${command}`);
        heard();
        return Promise.resolve();
      });
    let present = vmm('first');
    const rotation = new ConsoleRotation(() => present, { logDirectory }, pino({ level: 'silent' }));
    present = vmm('successor');
    const rotated = new Promise<void>((resolve) => (heard = resolve));
    vi.advanceTimersByTime(60_000);
    await rotated;
    expect(asked).toEqual(['successor: chardev-change']);
    rotation[Symbol.dispose]();
    expect(vi.getTimerCount()).toBe(0);
  });
});
