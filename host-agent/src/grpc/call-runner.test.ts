import { once } from 'node:events';
import { Metadata, status } from '@grpc/grpc-js';
import { ForkInstanceRequest, StreamLogsRequest } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import {
  Aborted,
  AlreadyExists,
  Capacity,
  Conflict,
  Corrupt,
  InvalidInput,
  InvalidState,
  NotFound,
  Timeout,
  Unreachable,
  Unsupported,
  type OffshootError,
} from '@offshoot/shared/errors.js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { decodeStatusDetails } from './contract/status-details.js';
import { ServedHost, settled } from './testing/serve.js';

let served: ServedHost;
beforeEach(async () => {
  served = await ServedHost.start();
});
afterEach(async () => {
  await served[Symbol.asyncDispose]();
});

const fork = () =>
  settled<unknown>((callback) =>
    served.client.forkInstance(ForkInstanceRequest.create({ source: 'a', mailboxes: [] }), callback),
  );

/** Resolves when the signal of the next call that is made ends, with its reason. */
function nextForkSignal(): Promise<unknown> {
  return new Promise((resolve) => {
    served.fake.fork = ((_command: unknown, signal: AbortSignal) =>
      new Promise((_, reject) => {
        signal.addEventListener('abort', () => {
          resolve(signal.reason);
          reject(signal.reason as Error);
        });
      })) as unknown as typeof served.fake.fork;
  });
}

it('a request with an id is identified to what carries it out, one without is not', async () => {
  const seen: unknown[] = [];
  served.fake.fork = (...[, , identity]: unknown[]) => {
    seen.push(identity);
    return Promise.reject(new Conflict('not now', { reason: 'TAP_BUSY' }));
  };
  await fork();
  await settled<unknown>((callback) =>
    served.client.forkInstance(ForkInstanceRequest.create({ source: 'a', requestId: 'mine' }), callback),
  );
  expect(seen).toEqual([
    undefined,
    {
      id: 'mine',
      method: '/offshoot.v1.InstanceService/ForkInstance',
      fingerprint: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
    },
  ]);
});

it('a malformed request id is refused before anything is done', async () => {
  const refused = await settled<unknown>((callback) =>
    served.client.forkInstance(ForkInstanceRequest.create({ source: 'a', requestId: '\n' }), callback),
  );
  expect(refused).toMatchObject({ error: { code: status.INVALID_ARGUMENT } });
  expect(served.fake.asked).toEqual([]);
});

describe('the error table', () => {
  const details = { reason: 'SOME_REASON', metadata: { what: 'it' } };
  const rows: [OffshootError, status][] = [
    [new InvalidInput('m', details), status.INVALID_ARGUMENT],
    [new NotFound('m', details), status.NOT_FOUND],
    [new AlreadyExists('m', details), status.ALREADY_EXISTS],
    [new InvalidState('m', details), status.FAILED_PRECONDITION],
    [new Capacity('m', details), status.RESOURCE_EXHAUSTED],
    [new Conflict('m', details), status.ABORTED],
    [new Unsupported('m', details), status.UNIMPLEMENTED],
    [new Unreachable('m', details), status.UNAVAILABLE],
    [new Timeout('m', details), status.DEADLINE_EXCEEDED],
    [new Aborted('m', details), status.ABORTED],
    [new Corrupt('m', details), status.DATA_LOSS],
  ];
  it.each(rows.map(([error, code]) => [error.kind, status[code], error, code] as const))(
    'tells %s as %s, with message, reason, domain and metadata',
    async (_kind, _name, thrown, code) => {
      served.fake.fork = () => Promise.reject(thrown);
      const { error } = await fork();
      expect(error).toMatchObject({ code, details: 'm' });
      expect(decodeStatusDetails(error!.metadata)).toEqual({
        reason: 'SOME_REASON',
        domain: 'offshoot',
        metadata: { what: 'it' },
        violations: [],
      });
    },
  );

  it('carries the field violations of a bad request', async () => {
    served.fake.fork = () => Promise.reject(InvalidInput.field('mailboxes[0].token', 'must be the right one'));
    const { error } = await fork();
    expect(decodeStatusDetails(error!.metadata)?.violations).toEqual([
      { field: 'mailboxes[0].token', description: 'must be the right one' },
    ]);
  });

  it('hides the message of a defect behind an id that stands in the log beside it', async () => {
    served.fake.fork = () => Promise.reject(new TypeError('/secret/path is undefined'));
    const { error } = await fork();
    expect(error).toMatchObject({ code: status.INTERNAL });
    expect(error!.details).not.toContain('secret');
    const { errorId } = decodeStatusDetails(error!.metadata)!.metadata;
    expect(error!.details).toContain(errorId);
    expect(served.log).toContainEqual(
      expect.objectContaining({
        errorId,
        err: expect.objectContaining({ message: '/secret/path is undefined' }) as unknown,
      }),
    );
  });

  it('answers also when a handler throws before its first await, or something that is no error', async () => {
    served.fake.fork = () => {
      throw new NotFound('at once', details);
    };
    expect((await fork()).error).toMatchObject({ code: status.NOT_FOUND });
    served.fake.fork = () => Promise.reject(Object('a string') as Error);
    expect((await fork()).error).toMatchObject({ code: status.INTERNAL });
  });

  it('cuts a message in the middle so that it fits into the trailers, whatever is in it', async () => {
    const text = `QEMU died: \ud800${'é%\n'.repeat(100_000)} last words`;
    served.fake.fork = () =>
      Promise.reject(
        new InvalidInput(text, {
          reason: 'R',
          metadata: { tail: text },
          violations: Array.from({ length: 1000 }, (_, i) => ({ field: `f${String(i)}`, description: text })),
        }),
      );
    const { error } = await fork();
    expect(error).toMatchObject({ code: status.INVALID_ARGUMENT });
    expect(error!.details).toMatch(/^QEMU died: .* … .*last words$/su);
    const decoded = decodeStatusDetails(error!.metadata)!;
    expect(decoded.violations.at(-1)!.description).toMatch(/^and 9\d\d more$/);
    const block = (error!.metadata.get('grpc-status-details-bin')[0] as Buffer).toString('base64');
    expect(block.length + encodeURI(error!.details).length).toBeLessThan(8192);
  });
});

describe('the signal of a call', () => {
  it("ends with the client's cancellation, and the log says CANCELLED", async () => {
    const reason = nextForkSignal();
    const call = served.client.forkInstance(ForkInstanceRequest.create({ source: 'a' }), () => undefined);
    call.on('metadata', () => undefined);
    await untilRunning(served);
    call.cancel();
    expect(await reason).toMatchObject({ kind: 'Aborted', reason: 'CALL_CANCELLED' });
    await served.server.close(1000);
    expect(served.log).toContainEqual(expect.objectContaining({ status: 'CANCELLED' }));
  });

  it("ends at the call's deadline, and the client hears DEADLINE_EXCEEDED", async () => {
    const reason = nextForkSignal();
    const answer = settled<unknown>((callback) =>
      served.client.forkInstance(
        ForkInstanceRequest.create({ source: 'a' }),
        new Metadata(),
        { deadline: Date.now() + 150 },
        callback,
      ),
    );
    expect(await reason).toMatchObject({ kind: 'Timeout', reason: 'CALL_DEADLINE' });
    expect((await answer).error).toMatchObject({ code: status.DEADLINE_EXCEEDED });
  });

  it('does not end by itself when the call is answered', async () => {
    let seen: AbortSignal | undefined;
    served.fake.fork = ((_: unknown, signal: AbortSignal) => {
      seen = signal;
      return Promise.reject(new NotFound('m', { reason: 'R' }));
    }) as unknown as typeof served.fake.fork;
    await fork();
    await served.server.close(1000);
    expect(seen!.aborted).toBe(false);
  });

  it('ends when the daemon stops and the call has used its time; the client hears UNAVAILABLE', async () => {
    const reason = nextForkSignal();
    const answer = fork();
    await untilRunning(served);
    await served.server.close(100);
    expect(await reason).toMatchObject({ kind: 'Unreachable', reason: 'DAEMON_STOPPING' });
    expect((await answer).error).toMatchObject({ code: status.UNAVAILABLE });
  });

  /** The fake's fork has begun once a second call, made later, has been answered. */
  async function untilRunning({ client }: ServedHost): Promise<void> {
    await settled<unknown>((callback) =>
      client.getInstance({ instance: 'none', includeMailboxes: false, includeStorage: false }, callback),
    );
  }
});

describe('a server stream', () => {
  it('takes no more from its source than the client reads', async () => {
    const piece = Buffer.alloc(256 * 1024);
    const total = 400;
    let taken = 0;
    served.fake.logs = async function* () {
      await Promise.resolve();
      for (; taken < total; taken++) yield piece;
    };
    const call = served.client.streamLogs(StreamLogsRequest.create({ instance: 'a' }));
    await once(call, 'readable'); // the first message is there; nobody has read on
    for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(taken).toBeLessThan(total / 2);
    let bytes = 0;
    for await (const { data } of call as AsyncIterable<{ data: Buffer }>) bytes += data.length;
    expect(bytes).toBe(total * piece.length);
  });

  it('ends its source when the client goes', async () => {
    let over!: (reason: unknown) => void;
    const ended = new Promise((resolve) => (over = resolve));
    served.fake.logs = async function* (_reference, _source, _follow, signal) {
      try {
        yield Buffer.from('x');
        await once(signal, 'abort');
      } finally {
        over(signal.reason);
      }
    };
    const call = served.client.streamLogs(StreamLogsRequest.create({ instance: 'a', follow: true }));
    call.on('error', () => undefined);
    await once(call, 'data');
    call.cancel();
    expect(await ended).toMatchObject({ reason: 'CALL_CANCELLED' });
  });

  it('tells an error that comes after messages as its status', async () => {
    served.fake.logs = async function* () {
      yield Buffer.from('x');
      await Promise.resolve();
      throw new Corrupt('torn', { reason: 'LOG_TORN' });
    };
    const read = async () => {
      const call = served.client.streamLogs(StreamLogsRequest.create({ instance: 'a' }));
      await call.forEach(() => undefined);
    };
    await expect(read()).rejects.toMatchObject({ code: status.DATA_LOSS, details: 'torn' });
  });

  it('of a followed log does not hold up the daemon when it stops', async () => {
    await served.fake.create({
      name: 'a',
      image: 'default',
      driver: undefined,
      vcpus: 1,
      memoryBytes: 2 ** 29,
      diskBytes: undefined,
      injection: { env: {}, files: [], tls: undefined },
      labels: {},
      workload: undefined,
    });
    const call = served.client.streamLogs(StreamLogsRequest.create({ instance: 'a', follow: true }));
    call.on('error', () => undefined);
    await once(call, 'data');
    const started = performance.now();
    await served.server.close(20_000);
    expect(performance.now() - started).toBeLessThan(5_000);
  });
});

describe('the log of calls', () => {
  it('has method, duration and status, and nothing of payloads, tokens or files', async () => {
    await settled<unknown>((callback) =>
      served.client.forkInstance(
        ForkInstanceRequest.create({
          source: 'a',
          mailboxes: [
            { name: 'task', token: 'tok-sesame', payload: { $case: 'json', json: '"pay-sesame"' } },
            { name: 'task', token: 'tok-sesame'.repeat(20), payload: { $case: 'json', json: 'pay-sesame' } },
          ],
        }),
        callback,
      ),
    );
    const lines = JSON.stringify(served.log);
    expect(lines).toContain('/offshoot.v1.InstanceService/ForkInstance');
    expect(lines).toContain('INVALID_ARGUMENT');
    expect(lines).not.toContain('sesame');
  });
});
