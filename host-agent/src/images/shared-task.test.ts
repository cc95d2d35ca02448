import { describe, expect, it } from 'vitest';
import { SharedTask } from './shared-task.js';

/** A task that is finished, failed and watched by hand. */
function task() {
  const { promise, resolve, reject } = promiseParts<string>();
  const cleanup = promiseParts<undefined>();
  const state = { settled: false, reports: undefined as ((progress: number) => void) | undefined };
  const shared = new SharedTask<number, string>(
    async (report, signal) => {
      state.reports = report;
      signal.addEventListener('abort', () => {
        cleanup.promise.then(() => {
          reject(new Error('undone'));
        }, reject);
      });
      return promise;
    },
    () => {
      state.settled = true;
    },
  );
  return { shared, state, resolve, reject, cleanup };
}

function promiseParts<Value>() {
  let resolve: (value: Value) => void = () => undefined;
  let reject: (error: unknown) => void = () => undefined;
  const promise = new Promise<Value>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

describe('SharedTask', () => {
  it('gives every caller the one result', async () => {
    const { shared, resolve } = task();
    const callers = [shared.join(() => undefined, undefined), shared.join(() => undefined, undefined)];
    resolve('done');
    expect(await Promise.all(callers)).toEqual(['done', 'done']);
  });

  it('gives every caller the one failure', async () => {
    const { shared, reject } = task();
    const callers = [shared.join(() => undefined, undefined), shared.join(() => undefined, undefined)];
    reject(new Error('broken'));
    for (const { status } of await Promise.allSettled(callers)) expect(status).toBe('rejected');
  });

  it('tells a late caller where the work is', async () => {
    const { shared, state, resolve } = task();
    const seen: number[] = [];
    const first = shared.join(() => undefined, undefined);
    state.reports!(1);
    state.reports!(2);
    const late = shared.join((progress) => seen.push(progress), undefined);
    state.reports!(3);
    resolve('done');
    await Promise.all([first, late]);
    expect(seen).toEqual([2, 3]);
  });

  it('goes on for the others when one caller gives up', async () => {
    const { shared, resolve } = task();
    const controller = new AbortController();
    const leaving = shared.join(() => undefined, controller.signal);
    const staying = shared.join(() => undefined, undefined);
    controller.abort(new Error('enough'));
    await expect(leaving).rejects.toThrow('enough');
    expect(shared.isAborted).toBe(false);
    resolve('done');
    expect(await staying).toBe('done');
  });

  it('is aborted when the last caller gives up, who hears of it only when everything is undone', async () => {
    const { shared, state, cleanup } = task();
    const controller = new AbortController();
    const leaving = shared
      .join(() => undefined, controller.signal)
      .finally(() => {
        expect(state.settled).toBe(true);
      });
    controller.abort(new Error('enough'));
    queueMicrotask(() => {
      cleanup.resolve(undefined);
    });
    await expect(leaving).rejects.toThrow('enough');
    expect(shared.isAborted).toBe(true);
  });
});
