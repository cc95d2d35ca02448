import { describe, expect, it } from 'vitest';
import { SingleFlight } from './single-flight.js';

/** Work whose end the test decides. */
function controlled(): {
  flight: SingleFlight<string>;
  calls: { signal: AbortSignal; resolve: (value: string) => void; reject: (error: Error) => void }[];
} {
  const calls: ReturnType<typeof controlled>['calls'] = [];
  const flight = new SingleFlight<string>(
    (signal) => new Promise((resolve, reject) => calls.push({ signal, resolve, reject })),
  );
  return { flight, calls };
}

describe('single flight', () => {
  it('does the work once for all who wait, and keeps the result', async () => {
    const { flight, calls } = controlled();
    const all = Promise.all([flight.get(), flight.get(), flight.get()]);
    calls[0]!.resolve('done');
    expect(await all).toEqual(['done', 'done', 'done']);
    expect(await flight.get()).toBe('done');
    expect(calls).toHaveLength(1);
  });

  it('tells everybody of a failure and tries again for the next', async () => {
    const { flight, calls } = controlled();
    const both = Promise.allSettled([flight.get(), flight.get()]);
    calls[0]!.reject(new Error('broken'));
    expect((await both).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    const again = flight.get();
    calls[1]!.resolve('whole');
    expect(await again).toBe('whole');
  });

  it('goes on for the others when one gives up', async () => {
    const { flight, calls } = controlled();
    const controller = new AbortController();
    const impatient = flight.get(controller.signal);
    const patient = flight.get();
    controller.abort();
    await expect(impatient).rejects.toMatchObject({ kind: 'Aborted', reason: 'CANCELLED' });
    expect(calls[0]!.signal.aborted).toBe(false);
    calls[0]!.resolve('done');
    expect(await patient).toBe('done');
  });

  it('cancels the work when the last gives up, and begins anew for the next', async () => {
    const { flight, calls } = controlled();
    const controller = new AbortController();
    const only = flight.get(controller.signal);
    controller.abort();
    await expect(only).rejects.toMatchObject({ reason: 'CANCELLED' });
    expect(calls[0]!.signal.aborted).toBe(true);
    const next = flight.get();
    calls[0]!.reject(new Error('cancelled'));
    calls[1]!.resolve('done');
    expect(await next).toBe('done');
  });

  it('does not begin for a signal that has ended', async () => {
    const { flight, calls } = controlled();
    await expect(flight.get(AbortSignal.abort())).rejects.toMatchObject({ reason: 'CANCELLED' });
    expect(calls).toHaveLength(0);
  });
});
