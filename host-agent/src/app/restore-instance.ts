import { join } from 'node:path';
import { assertAllowed } from '../domain/instance-state.js';
import type { Instance } from '../domain/instance.js';
import { captureFor } from './capture-fitness.js';
import type { Context } from './context.js';
import { assertCapability, usableDriver } from './drivers.js';
import { thaw } from './held-guest.js';
import { changed, save } from './instance-record.js';
import { machineSpec } from './machine-spec.js';
import { CLONE_MEMORY_BYTES } from './memory-budget.js';
import { closeLink } from './running-instances.js';
import { UndoStack } from './undo-stack.js';

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
  using _memory = context.memory.book([CLONE_MEMORY_BYTES], 'restoring this instance');
  const paths = context.paths.instance(id);

  await using undo = new UndoStack(context.logger);
  using nic = context.network.attach(parked.network);
  const spec = { ...machineSpec(parked, paths, nic.backend), capture, stateFile: join(paths.root, capture.stateFile) };
  const { vm } = await driver.restore(spec, signal);
  undo.push('end hypervisor', () => vm.kill());
  const running = await context.running.openLink(vm, parked, paths, capture.workloadLogOffset, signal);
  undo.push('close link', () => closeLink(running));
  running.link.wake();
  signal.throwIfAborted();
  const instance = changed(parked, 'RUNNING', { capture: undefined, vmm: vm.process });
  await save(context, instance, { durable: false });
  undo.push('park again', () => save(context, parked, { durable: false }));
  await vm.resume(signal);
  undo.release();
  context.mailboxIndexes.forget(paths);
  context.running.add(id, running);
  // Its workload was frozen for the capture.
  await thaw(running.link, instance.name, context.logger);
  return { instance, restoreMs: performance.now() - started };
}
