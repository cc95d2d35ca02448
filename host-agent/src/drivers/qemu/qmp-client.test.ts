import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import * as z from 'zod';
import { Corrupt, InvalidState, Unreachable } from '@offshoot/shared/errors.js';
import { QmpClient, type QmpEvent } from './qmp-client.js';

const GREETING = '{"QMP": {"version": {}, "capabilities": ["oob"]}}\r\n';

describe('the QMP client', () => {
  let directory: string;
  let server: Server;
  let path: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'qmp-'));
    path = join(directory, 'qmp.sock');
    server = createServer().listen(path);
    await once(server, 'listening');
  });
  afterEach(async () => {
    server.close();
    await rm(directory, { recursive: true });
  });

  interface Request {
    execute: string;
    id: number;
  }
  /** Greets and lets `answer` say what goes back, as it stands on the wire; qmp_capabilities is answered. */
  function serve(answer: (request: Request, socket: Socket) => string): void {
    server.once('connection', (socket) => {
      socket.on('error', () => undefined); // the client may hang up in the middle of a line
      socket.write(GREETING);
      socket.on('data', (chunk: Buffer) => {
        for (const line of chunk.toString('utf8').split('\n').filter(Boolean)) {
          const request = JSON.parse(line) as Request;
          const ready = request.execute === 'qmp_capabilities';
          socket.write(ready ? `{"return": {}, "id": ${String(request.id)}}\r\n` : answer(request, socket));
        }
      });
    });
  }
  const ok = ({ id }: Request, value: unknown): string => `${JSON.stringify({ return: value, id })}\r\n`;

  it('matches answers to commands by their id, however they are cut into pieces', async () => {
    const waiting: Request[] = [];
    serve((request, socket) => {
      waiting.push(request);
      if (waiting.length < 2) return '';
      const wire = waiting
        .reverse()
        .map((each) => ok(each, each.execute))
        .join('');
      for (const byte of wire) socket.write(byte);
      return '';
    });
    const qmp = await QmpClient.connect(path);
    expect(await Promise.all([qmp.execute('a', {}, z.string()), qmp.execute('b', {}, z.string())])).toEqual(['a', 'b']);
    qmp.close();
    expect(await qmp.closed).toMatchObject({ here: true });
  });

  it('passes events on', async () => {
    serve(
      (request) =>
        `{"event": "STOP", "timestamp": {}}\r\n{"event": "MIGRATION", "data": {"status": "x"}}\r\n${ok(request, {})}`,
    );
    const qmp = await QmpClient.connect(path);
    const events: QmpEvent[] = [];
    const subscription = qmp.onEvent((event) => events.push(event));
    await qmp.run('stop');
    expect(events).toEqual([
      { name: 'STOP', data: {} },
      { name: 'MIGRATION', data: { status: 'x' } },
    ]);
    subscription[Symbol.dispose]();
    await qmp.run('stop');
    expect(events).toHaveLength(2);
    qmp.close();
  });

  it('gives a refusal in the words of QEMU, and goes on', async () => {
    serve((request) =>
      request.execute === 'bad'
        ? `{"error": {"class": "GenericError", "desc": "no such thing"}, "id": ${String(request.id)}}\r\n`
        : ok(request, 1),
    );
    const qmp = await QmpClient.connect(path);
    const failure = await qmp.run('bad').catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(InvalidState);
    expect(failure).toMatchObject({ message: 'QEMU refused bad: no such thing', metadata: { class: 'GenericError' } });
    await expect(qmp.execute('good', {}, z.string())).rejects.toThrow(Corrupt);
    expect(await qmp.execute('good', {}, z.number())).toBe(1);
    qmp.close();
  });

  it('drops the answer of a command that was given up, and goes on', async () => {
    const held: Request[] = [];
    serve((request) => {
      held.push(request);
      return request.execute === 'slow' ? '' : held.map((each) => ok(each, each.execute)).join('');
    });
    const qmp = await QmpClient.connect(path);
    const giveUp = new AbortController();
    const slow = qmp.run('slow', {}, giveUp.signal);
    giveUp.abort();
    await expect(slow).rejects.toThrow(/abort/i);
    expect(await qmp.execute('quick', {}, z.string())).toBe('quick');
    qmp.close();
  });

  it.each([
    ['something that is no message', 'hello\n'],
    ['an answer to nothing that was asked', '{"return": {}, "id": 77}\n'],
    ['a line without end', 'x'.repeat(5 * 1024 * 1024)],
  ])('hangs up on %s', async (_, wire) => {
    serve(() => wire);
    const qmp = await QmpClient.connect(path);
    await expect(qmp.run('anything')).rejects.toThrow(Corrupt);
    expect(await qmp.closed).toMatchObject({ here: false });
  });

  it('tells everybody who waits that QEMU is gone', async () => {
    serve((_, socket) => {
      socket.destroy();
      return '';
    });
    const qmp = await QmpClient.connect(path);
    await expect(Promise.all([qmp.run('a'), qmp.run('b')])).rejects.toThrow(Unreachable);
    await expect(qmp.run('c')).rejects.toThrow(Unreachable);
  });

  it('gives up on a QEMU that does not greet, does not listen, or hangs up at once', async () => {
    await expect(QmpClient.connect(path, AbortSignal.timeout(20))).rejects.toThrow(/abort|timeout/i);
    server.once('connection', (socket) => socket.destroy());
    await expect(QmpClient.connect(path)).rejects.toThrow(Unreachable);
    await expect(QmpClient.connect(join(directory, 'nobody'))).rejects.toThrow(Unreachable);
  });
});
