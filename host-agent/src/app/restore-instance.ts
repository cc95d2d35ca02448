import { join } from 'node:path';
import { assertAllowed } from '../domain/instance-state.js';
import type { Instance } from '../domain/instance.js';
import { captureFor } from './capture-fitness.js';
import type { Context } from './context.js';
import { assertCapability, usableDriver } from './drivers.js';
import { thaw } from './held-guest.js';
import { changed } from './instance-record.js';
import { machineSpec } from './machine-spec.js';
import { Operation } from './operation.js';
import { closeLink } from './running-instances.js';

/** Resumes a parked instance where it stood. On failure it stays parked. */
export async function restoreInstance(
  context: Context,
  reference: string,
  signal: AbortSignal,
): Promise<{ instance: Instance; restoreMs: number }> {
  const started = performance.now();
  const { id } = context.store.resolve(reference);
  using _lock = await context.locks.exclusive(id, signal);
  const parked = context.store.resolve(id);
  assertAllowed('restore', parked.name, parked.state);
  assertCapability(parked.driver, 'snapshot');
  const driver = await usableDriver(context, parked.driver, signal);
  const capture = captureFor(context, parked);
  const paths = context.paths.instance(id);

  await using operation = Operation.begin(context, 'restore-instance', id);
  using nic = context.network.attach(parked.network);
  const spec = { ...machineSpec(parked, paths, nic.backend), capture, stateFile: join(paths.root, capture.stateFile) };
  const { vm } = await driver.restore(spec, signal);
  operation.push('end hypervisor', () => vm.kill());
  operation.reached('launch');
  const running = await context.running.openLink(vm, parked, paths, capture.workloadLogOffset, signal);
  operation.push('close link', () => closeLink(running));
  operation.reached('link');
  running.link.wake();
  signal.throwIfAborted();
  const instance = changed(parked, 'RUNNING', { capture: undefined, vmm: vm.process });
  const answer = { instance, restoreMs: performance.now() - started };
  await operation.record(instance, { durable: false, before: parked, answer });
  await vm.resume(signal);
  const restoreMs = performance.now() - started;
  operation.release();
  operation.reached('resume');
  context.mailboxIndexes.forget(paths);
  context.running.add(id, running);
  // Its workload was frozen for the capture.
  await thaw(running.link, instance.name, context.logger);
  operation.reached('thaw');
  return { instance, restoreMs };
}
