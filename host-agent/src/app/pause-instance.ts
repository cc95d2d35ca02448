import { assertAllowed } from '../domain/instance-state.js';
import type { Instance } from '../domain/instance.js';
import type { Context } from './context.js';
import { HeldGuest, thaw } from './held-guest.js';
import { changed } from './instance-record.js';
import { Operation } from './operation.js';
import { runningVm } from './running-instances.js';

/** Halts a running instance's CPUs; its VMM stays. */
export async function pauseInstance(context: Context, reference: string, signal: AbortSignal): Promise<Instance> {
  const { id } = context.store.resolve(reference);
  using _lock = await context.locks.exclusive(id, signal);
  const instance = context.store.resolve(id);
  assertAllowed('pause', instance.name, instance.state);
  const guest = runningVm(context.running, instance);
  const { vm } = guest;
  await using operation = Operation.begin(context, 'pause-instance', id, signal);
  // It may be parked or forked as it stands: its workload must be frozen then.
  await using held = await HeldGuest.hold(instance, guest, true, context.logger, signal);
  operation.reached('hold');
  await vm.pause(signal);
  operation.reached('pause');
  const paused = changed(instance, 'PAUSED', {});
  try {
    await operation.record(paused, { durable: false, before: instance, answer: paused });
    operation.release();
  } catch (error) {
    await vm.resume();
    throw error;
  }
  held.keep();
  return paused;
}

/** Lets a paused instance go on. */
export async function resumeInstance(context: Context, reference: string, signal: AbortSignal): Promise<Instance> {
  const { id } = context.store.resolve(reference);
  using _lock = await context.locks.exclusive(id, signal);
  const instance = context.store.resolve(id);
  assertAllowed('resume', instance.name, instance.state);
  const guest = runningVm(context.running, instance);
  const { vm } = guest;
  await using operation = Operation.begin(context, 'resume-instance', id, signal);
  await vm.resume(signal);
  operation.push('pause again', () => vm.pause());
  operation.reached('resume');
  const running = changed(instance, 'RUNNING', {});
  await operation.record(running, { durable: false, before: instance, answer: running });
  operation.release();
  await thaw(guest, running.name, context.logger);
  operation.reached('thaw');
  return running;
}
