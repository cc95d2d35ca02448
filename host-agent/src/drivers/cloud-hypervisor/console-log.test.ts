import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ConsoleLog, type GuestConsole } from './console-log.js';

const MIB = 1024 * 1024;
const never = AbortSignal.timeout(20_000);

describe("the log of a guest's console", () => {
  let logDirectory: string;
  let server: Server;
  let serial: string;
  beforeEach(() => {
    logDirectory = mkdtempSync(join(tmpdir(), 'console-'));
    serial = join(logDirectory, 'serial.sock');
    server = createServer().listen(serial);
  });
  afterEach(() => {
    server.close();
    rmSync(logDirectory, { recursive: true });
  });

  const open = async (): Promise<{ log: GuestConsole; guest: Socket }> => {
    const connected = once(server, 'connection') as Promise<[Socket]>;
    const log = await ConsoleLog.of(serial, { logDirectory }, never);
    return { log, guest: (await connected)[0] };
  };
  const content = (name = 'console.log'): string => readFileSync(join(logDirectory, name), 'latin1');

  it('has all the guest said when its VMM is gone, behind what was there', async () => {
    for (const word of ['one\n', 'two\n']) {
      const { log, guest } = await open();
      guest.end(word);
      await log.closed;
    }
    expect(content()).toBe('one\ntwo\n');
  });

  it('does not grow without end', async () => {
    const { log, guest } = await open();
    for (let i = 0; i < 40; i++) if (!guest.write(Buffer.alloc(MIB, i))) await once(guest, 'drain');
    guest.end('last words');
    await log.closed;
    expect(content().endsWith('last words')).toBe(true);
    for (const name of ['console.log', 'console.log.1'])
      expect(statSync(join(logDirectory, name)).size).toBeLessThan(17 * MIB);
  });

  it('is closed by whoever lets go', async () => {
    const { log } = await open();
    log.close();
    await log.closed;
  });

  it('is complete already when the VM has ended before', async () => {
    await (
      await ConsoleLog.of(`${serial}.gone`, { logDirectory }, never)
    ).closed;
    await expect(ConsoleLog.of(`${serial}/no/folder`, { logDirectory }, never)).rejects.toMatchObject({
      reason: 'VMM_GONE',
    });
  });
});
