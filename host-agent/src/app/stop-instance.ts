import type { Logger } from 'pino';
import { messageOf } from '@offshoot/shared/errors.js';
import { assertAllowed } from '../domain/instance-state.js';
import type { Instance } from '../domain/instance.js';
import { abortable } from './abortable.js';
import type { Context } from './context.js';
import { settleDisk } from './disk-layer.js';
import { changed } from './instance-record.js';
import { Operation } from './operation.js';
import { closeLink, type RunningInstance } from './running-instances.js';

/** Ends an instance's VMM, after asking its agent to shut down; a parked one loses its memory. The disk stays. */
export async function stopInstance(
  context: Context,
  reference: string,
  graceMs: number,
  signal: AbortSignal,
): Promise<Instance> {
  const { id } = context.store.resolve(reference);
  using _lock = await context.locks.exclusive(id, signal);
  const instance = context.store.resolve(id);
  assertAllowed('stop', instance.name, instance.state);
  await using operation = Operation.begin(context, 'stop-instance', id, undefined);
  // Taken out first: its end is wanted, not a failure.
  const running = context.running.remove(id);
  // A paused guest cannot answer, and has had its disks synced for the pause.
  const grace = instance.state === 'PAUSED' ? 0 : graceMs;
  if (running !== undefined) await shutDown(running, grace, context.logger.child({ instance: id }));
  await settleDisk(context, instance);
  operation.reached('end hypervisor');
  const stopped = changed(instance, 'STOPPED', {
    vmm: undefined,
    capture: undefined,
    identityPending: undefined,
    stateReason: '',
  });
  await operation.record(stopped, { durable: true, answer: stopped });
  operation.release();
  context.mailboxIndexes.forget(context.paths.instance(id));
  await context.files.dropCapture(id);
  operation.reached('drop memory');
  return stopped;
}

/** How long a guest may take to go after its channel went silent, in milliseconds: powering off can overtake the answer. */
const GOING_MS = 1000;

/** Asks the guest, waits for its end as long as `graceMs`, then ends the VMM. Not cancellable: a half-stopped VM is of no use. */
async function shutDown(running: RunningInstance, graceMs: number, logger: Logger): Promise<void> {
  const { vm, link } = running;
  if (graceMs > 0) {
    const limit = AbortSignal.timeout(graceMs);
    try {
      await link.shutdown(limit).catch(() => abortable(vm.exited, AbortSignal.timeout(GOING_MS)));
      await abortable(vm.exited, limit);
    } catch (error) {
      logger.warn({ error: messageOf(error), graceMs }, 'guest did not shut down by itself, ending the hypervisor');
    }
  }
  await closeLink(running);
  await vm.kill();
}
