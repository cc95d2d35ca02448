import type { Socket } from 'node:net';
import { Corrupt, InvalidInput, InvalidState, Timeout, Unreachable } from '@offshoot/shared/errors.js';
import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import { HttpApi } from './http-api.js';
import { ApiSocket, answer } from './testing/api-socket.js';

const dialect = {
  vmm: 'Any VMM',
  maxRequestBytes: 100,
  limitMs: 20_000,
  faultOf: (body: string): string => body.replace(/^fault: /, ''),
};

/** A client and the other end, for the time of one test. */
async function withApi(
  onRequest: (connection: Socket, request: string) => void,
  test: (api: HttpApi, socket: ApiSocket) => Promise<void>,
): Promise<void> {
  await using socket = await ApiSocket.open(onRequest);
  const api = new HttpApi(socket.path, dialect);
  try {
    await test(api, socket);
  } finally {
    await api.close();
  }
}

const call = { method: 'PUT', path: '/thing', body: { a: 1 } } as const;

describe('the HTTP API of a VMM', () => {
  it('sends JSON over one connection, one call after the other', async () => {
    const asked: string[] = [];
    await withApi(
      (connection, request) => {
        asked.push(request);
        expect(asked).toHaveLength(answered + 1);
        setImmediate(() => {
          answered++;
          connection.write(answer('200 OK', '{"n":7}'));
        });
      },
      async (api, { heard }) => {
        const [, second] = await Promise.all([
          api.call(call),
          api.ask('/', z.object({ n: z.number() })),
          api.call(call),
        ]);
        expect(second).toEqual({ n: 7 });
        expect(asked[0]).toMatch(/^PUT \/thing HTTP\/1.1\r\n[^]*content-type: application\/json[^]*\r\n\r\n{"a":1}$/);
        expect(asked[1]).toMatch(/^GET \/ HTTP\/1.1\r\n/);
        expect(heard).toHaveLength(1);
      },
    );
  });
  let answered = 0;

  it("gives the VMM's own words when it refuses", async () => {
    await withApi(
      (connection) => connection.write(answer('400 Bad Request', 'fault: not now')),
      async (api) => {
        const failure = await api.call(call).catch((error: unknown) => error);
        expect(failure).toBeInstanceOf(InvalidState);
        expect(failure).toMatchObject({
          message: 'Any VMM refused PUT /thing: not now',
          reason: 'HYPERVISOR_REFUSED',
          metadata: { call: 'PUT /thing', status: '400' },
        });
      },
    );
  });

  it('says that nobody listens', async () => {
    const api = new HttpApi('/nowhere/api.sock', dialect);
    await expect(api.call(call)).rejects.toMatchObject({ kind: 'Unreachable', reason: 'VMM_GONE' });
    await api.close();
  });

  it.each([
    ['before it answers', ''],
    ['in the middle of the head', 'HTTP/1.1 200 OK\r\nContent-Le'],
    ['in the middle of the body', 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"n":'],
  ])('says that the VMM hung up %s', async (_, said) => {
    await withApi(
      (connection) => connection.end(said),
      async (api) => {
        const failure = await api.ask('/', z.unknown()).catch((error: unknown) => error);
        expect(failure).toBeInstanceOf(Unreachable);
        expect(failure).toMatchObject({ reason: 'VMM_GONE' });
      },
    );
  });

  it.each([
    ['no HTTP', 'hello, I am a VMM\r\n\r\n'],
    ['a head without end', `HTTP/1.1 200 OK\r\n${'x-filler: 0123456789\r\n'.repeat(10_000)}`],
    ['more than an answer can be', answer('200 OK', '"'.padEnd(2 * 1024 * 1024))],
    ['no JSON', answer('200 OK', 'yes')],
    ['nothing where an answer is needed', answer('204 No Content')],
    ['JSON of another shape', answer('200 OK', '{"n":"seven"}')],
  ])('takes %s for what it is', async (_, said) => {
    await withApi(
      (connection) => connection.write(said),
      async (api) => {
        const failure = await api.ask('/', z.object({ n: z.number() })).catch((error: unknown) => error);
        expect(failure, String(failure)).toBeInstanceOf(Corrupt);
        expect(failure).toMatchObject({ reason: 'API_MALFORMED' });
      },
    );
  });

  it.each([
    ['answers nothing', ''],
    ['stops in the middle', 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{'],
  ])('gives a VMM that %s as much time as the call has', async (_, said) => {
    await withApi(
      (connection) => connection.write(said),
      async (api) => {
        const failure = await api.call({ ...call, limitMs: 20 }).catch((error: unknown) => error);
        expect(failure).toBeInstanceOf(Timeout);
        expect(failure).toMatchObject({
          message: 'Any VMM did not answer PUT /thing within 0.02 s',
          reason: 'VMM_API_TIMEOUT',
        });
      },
    );
  });

  it('can be cancelled before, while it waits its turn and while the VMM is at work, and goes on afterwards', async () => {
    let silent = true;
    const cancel = new AbortController();
    await withApi(
      (connection) => {
        if (silent) cancel.abort(new Error('no longer wanted'));
        else connection.write(answer('204 No Content'));
        silent = false;
      },
      async (api, { heard }) => {
        await expect(api.call(call, AbortSignal.abort(new Error('before')))).rejects.toThrow('before');
        expect(heard).toEqual([]);
        const results = await Promise.allSettled([api.call(call, cancel.signal), api.call(call, cancel.signal)]);
        for (const result of results)
          expect(result).toMatchObject({ status: 'rejected', reason: { message: 'no longer wanted' } });
        expect(await api.call(call)).toBe('');
        expect(heard.filter((requests) => requests !== '')).toHaveLength(2);
      },
    );
  });

  it('connects anew after a connection broke', async () => {
    let calls = 0;
    await withApi(
      (connection) => (++calls === 1 ? connection.destroy() : connection.write(answer('204 No Content'))),
      async (api) => {
        await expect(api.call(call)).rejects.toThrow(Unreachable);
        expect(await api.call(call)).toBe('');
      },
    );
  });

  it('does not send what the VMM would not take', async () => {
    await withApi(
      () => undefined,
      async (api, { heard }) => {
        const large = { ...call, body: { a: 'x'.repeat(200) } };
        await expect(api.call(large)).rejects.toThrow(InvalidInput);
        expect(heard).toEqual([]);
      },
    );
  });

  it('tells a call that is under way that this side hung up', async () => {
    let arrived: () => void = () => undefined;
    const begun = new Promise<void>((resolve) => (arrived = resolve));
    await withApi(
      () => {
        arrived();
      },
      async (api) => {
        const under = api.call(call);
        under.catch(() => undefined);
        await begun;
        await api.close();
        await expect(under).rejects.toMatchObject({ reason: 'VMM_GONE' });
      },
    );
  });
});
