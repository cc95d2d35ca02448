import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { RequestIdentity } from '../ports/answers.js';
import { SqliteAnswers } from '../state/sqlite-answers.js';
import { openStateDatabase } from '../state/state-database.js';
import type { ForkOutcome, ForkResult } from './commands.js';
import { IdempotentCalls } from './idempotent-calls.js';

const HOUR_MS = 3600 * 1000;
const request: RequestIdentity = { id: 'order-66', method: '/offshoot.v1.S/Create', fingerprint: 'a' };
const never = new AbortController().signal;

/** Something to be waited for that a test lets end as it likes. */
function held<Value>(): { promise: Promise<Value>; resolve: (value: Value) => void; reject: (error: Error) => void } {
  let resolve: (value: Value) => void = () => undefined;
  let reject: (error: Error) => void = () => undefined;
  const promise = new Promise<Value>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

let folder: string;
let database: Database.Database;
let now: number;
let calls: IdempotentCalls;
let done: number;
const open = (): void => {
  database = openStateDatabase(join(folder, 'state.db'));
  calls = new IdempotentCalls(new SqliteAnswers(database, () => now));
};
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'offshoot-answers-'));
  now = Date.now();
  done = 0;
  open();
});
afterEach(() => {
  database.close();
  rmSync(folder, { recursive: true });
});

const work = (): Promise<{ made: number }> => Promise.resolve({ made: ++done });
const ask = (change: Partial<RequestIdentity> = {}, signal = never) =>
  calls.once({ ...request, ...change }, work, signal);

describe('a request with an id', () => {
  it('is carried out once, and repeated gets the first answer, also from the next daemon', async () => {
    expect([await ask(), await ask()]).toEqual([{ made: 1 }, { made: 1 }]);
    database.close();
    open();
    expect(await ask()).toEqual({ made: 1 });
  });

  it('is another one under another id, and without an id always', async () => {
    await ask();
    expect(await ask({ id: 'order-67' })).toEqual({ made: 2 });
    expect([await calls.once(undefined, work, never), await calls.once(undefined, work, never)]).toEqual([
      { made: 3 },
      { made: 4 },
    ]);
  });

  it.each([{ fingerprint: 'b' }, { method: '/offshoot.v1.S/Delete' }])(
    'is refused when the id was that of another request (%o), done or under way',
    async (change) => {
      const first = held<number>();
      const running = calls.once(request, () => first.promise, never);
      const refusal = { kind: 'InvalidInput', reason: 'REQUEST_ID_REUSED' };
      await expect(ask(change)).rejects.toMatchObject(refusal);
      first.resolve(1);
      await running;
      await expect(ask(change)).rejects.toMatchObject(refusal);
      expect(done).toBe(0);
    },
  );

  it('joins the one that is under way', async () => {
    const first = held<string>();
    const running = calls.once(request, () => first.promise, never);
    const joined = [ask(), ask()];
    first.resolve('made');
    expect(await Promise.all([running, ...joined])).toEqual(['made', 'made', 'made']);
    expect(done).toBe(0);
  });

  it('that fails fails for those who joined it, and is tried anew by the next', async () => {
    const first = held<number>();
    const running = calls.once(request, () => first.promise, never);
    const joined = ask();
    first.reject(new Error('no room'));
    await expect(running).rejects.toThrow('no room');
    await expect(joined).rejects.toThrow('no room');
    expect(await ask()).toEqual({ made: 1 });
  });

  it('whose caller goes away is carried out for one of those who joined it, and by no other', async () => {
    const caller = new AbortController();
    const first = held<number>();
    const running = calls.once(request, () => first.promise, caller.signal);
    const joined = [ask(), ask(), ask()];
    caller.abort(new Error('gone'));
    first.reject(new Error('gone'));
    await expect(running).rejects.toThrow('gone');
    expect(await Promise.all(joined)).toEqual([{ made: 1 }, { made: 1 }, { made: 1 }]);
  });

  it('lets one who joined it go away', async () => {
    const first = held<number>();
    const running = calls.once(request, () => first.promise, never);
    const caller = new AbortController();
    const joined = ask({}, caller.signal);
    caller.abort(new Error('gone'));
    await expect(joined).rejects.toThrow('gone');
    first.resolve(1);
    expect(await running).toBe(1);
  });

  it('answered with nothing is answered with nothing again', async () => {
    const nothing = (): Promise<void> => {
      done++;
      return Promise.resolve();
    };
    await calls.once(request, nothing, never);
    await calls.once(request, nothing, never);
    expect(done).toBe(1);
  });
});

describe('an answer', () => {
  it('is kept for 24 hours', async () => {
    await ask();
    now += 24 * HOUR_MS - 1;
    expect(await ask()).toEqual({ made: 1 });
    now += 2;
    expect(await ask()).toEqual({ made: 2 });
  });

  it('gives way to newer ones when there are too many, with all the answers of its request', () => {
    const answers = new SqliteAnswers(database, () => now, 3);
    for (const part of [0, 1]) answers.keep({ ...request, part }, { part });
    for (const id of ['b', 'c']) answers.keep({ ...request, id, part: 0 }, {});
    expect(answers.of(request.id)).toEqual([]);
    expect([answers.of('b').length, answers.of('c').length]).toEqual([1, 1]);
  });

  it('is forgotten when what it spoke of is undone', () => {
    const answers = new SqliteAnswers(database);
    answers.keep({ ...request, part: 0 }, {});
    answers.forget({ ...request, part: 0 });
    expect(answers.of(request.id)).toEqual([]);
  });
});

describe('a request for several forks', () => {
  const results = new Map<number, ForkResult>([0, 1, 2].map((index) => [index, { index } as unknown as ForkResult]));
  /** Makes what is wanted but for `failing`, and keeps it as operations do. */
  const make = (failing: readonly number[], made: number[]) =>
    calls.each(
      request,
      async function* (key, wanted): AsyncGenerator<ForkOutcome> {
        for (const index of [0, 1, 2].filter(wanted)) {
          if (failing.includes(index)) yield { index, error: new Error('no room') };
          else {
            made.push(index);
            new SqliteAnswers(database).keep({ ...key!, part: index }, results.get(index));
            yield { index, result: results.get(index)! };
          }
          await Promise.resolve();
        }
      },
      3,
      never,
    );
  const indexesOf = async (outcomes: AsyncIterable<ForkOutcome>): Promise<number[]> => {
    const indexes: number[] = [];
    for await (const { index, result } of outcomes) if (result !== undefined) indexes.push(index);
    return indexes.sort();
  };

  it('that is repeated gets those that stand, and makes only those that are missing', async () => {
    const made: number[] = [];
    expect(await indexesOf(make([1], made))).toEqual([0, 2]);
    expect(await indexesOf(make([], made))).toEqual([0, 1, 2]);
    expect(await indexesOf(make([], made))).toEqual([0, 1, 2]);
    expect(made).toEqual([0, 2, 1]);
  });

  it('that is repeated while the first is under way makes nothing twice', async () => {
    const made: number[] = [];
    const both = await Promise.all([indexesOf(make([], made)), indexesOf(make([], made))]);
    expect(both).toEqual([
      [0, 1, 2],
      [0, 1, 2],
    ]);
    expect(made).toEqual([0, 1, 2]);
  });

  it('whose caller leaves in the middle is gone on with by a repeat', async () => {
    const made: number[] = [];
    for await (const { index } of make([], made)) if (index === 0) break;
    expect(await indexesOf(make([], made))).toEqual([0, 1, 2]);
    expect(made).toEqual([0, 1, 2]);
  });
});
