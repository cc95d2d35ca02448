import { Corrupt, Unreachable } from '@offshoot/shared/errors.js';
import type { VmExit } from '../../ports/driver.js';
import { diedAtStart } from '../vmm-child.js';
import type { QmpClient } from './qmp-client.js';
import type { QemuProcess } from './qemu-process.js';

/**
 * Loads device state from the inherited descriptor `state` into a VMM started with `-incoming defer`. The end is told by the
 * MIGRATION event (capability `events`). On failure QEMU exits, after it has written the reason to its log: waiting for that
 * instead of the event `failed`, which may come before those words.
 * @param options `lateBlockActivate`: the VMM takes possession of the disks, and their locks, when it first runs, not when
 *   it has loaded
 * @throws Corrupt when the stream cannot be loaded; Unreachable when the VMM was killed meanwhile
 */
export async function loadState(
  { qmp, exited }: QemuProcess,
  state: number,
  { lateBlockActivate }: { readonly lateBlockActivate: boolean },
  signal?: AbortSignal,
): Promise<void> {
  const loaded = migrationCompleted(qmp, signal);
  const capabilities = [
    { capability: 'events', state: true },
    { capability: 'late-block-activate', state: lateBlockActivate },
  ];
  try {
    // Not one after the other: QEMU carries commands out in order, and each answer awaited costs a round trip.
    await Promise.all([
      qmp.run('migrate-set-capabilities', { capabilities }, signal),
      qmp.run('migrate-incoming', { uri: `fd:${String(state)}` }, signal),
      loaded,
    ]);
  } catch (error) {
    if (!(error instanceof Unreachable)) throw error;
    const exit = await exited;
    // One that does not like what it loads ends by itself, or fails an assertion.
    throw exit.signal === 'SIGKILL' ? diedAtStart('QEMU', exit, error) : notLoaded(exit, error);
  }
}

function migrationCompleted(qmp: QmpClient, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (error?: Error): void => {
      subscription[Symbol.dispose]();
      signal?.removeEventListener('abort', onAbort);
      if (error === undefined) resolve();
      else reject(error);
    };
    const onAbort = (): void => {
      const reason: unknown = signal?.reason;
      settle(reason instanceof Error ? reason : new Error('aborted', { cause: reason }));
    };
    const subscription = qmp.onEvent(({ name, data }) => {
      if (name === 'MIGRATION' && data.status === 'completed') settle();
    });
    signal?.addEventListener('abort', onAbort);
    void qmp.closed.then(() => {
      settle(new Unreachable('QEMU hung up while it loaded the device state', { reason: 'VMM_GONE' }));
    });
  });
}

const notLoaded = (exit: VmExit, cause: unknown): Corrupt =>
  new Corrupt(`QEMU could not load the device state: ${exit.logTail || 'it wrote nothing to its log'}`, {
    reason: 'STATE_NOT_LOADED',
    metadata: { logTail: exit.logTail },
    cause,
  });
