import { join } from 'node:path';
import { assertAllowed } from '../domain/instance-state.js';
import type { Instance } from '../domain/instance.js';
import { captureFor } from './capture-fitness.js';
import type { Context } from './context.js';
import { assertCapability, usableDriver } from './drivers.js';
import { withConsoleTail } from './failure.js';
import { ForkHandoffs } from './handoffs/fork-handoffs.js';
import { thaw } from './held-guest.js';
import { changed, save } from './instance-record.js';
import { machineSpec } from './machine-spec.js';
import { CLONE_MEMORY_BYTES } from './memory-budget.js';
import { closeLink } from './running-instances.js';
import { UndoStack } from './undo-stack.js';

/** How long a guest may take to have its own identity in force, where that is handed to it; milliseconds. */
const IDENTITY_MS = 10_000;

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
  using _memory = context.memory.book([CLONE_MEMORY_BYTES], 'restoring this instance');
  return { instance: await resumeParked(context, parked, signal), restoreMs: performance.now() - started };
}

/**
 * The same for one whose lock is held. Where the memory is not the instance's own (`identityPending`), its identity is in
 * there before its first instruction, and the answer comes when that is in force, as for a fork.
 */
export async function resumeParked(context: Context, parked: Instance, signal: AbortSignal): Promise<Instance> {
  assertCapability(parked.driver, 'snapshot');
  const driver = await usableDriver(context, parked.driver, signal);
  const capture = captureFor(context, parked);
  const paths = context.paths.instance(parked.id);
  const identity = { waitForNetwork: true, networkTimeoutMs: IDENTITY_MS, mailboxes: [] };
  using handoffs = parked.identityPending === true ? new ForkHandoffs(context, identity) : undefined;
  await handoffs?.prepare({ instance: parked, capture, files: paths }, signal);

  await using undo = new UndoStack(context.logger);
  using nic = context.network.attach(parked.network);
  const spec = { ...machineSpec(parked, paths, nic.backend), capture, stateFile: join(paths.root, capture.stateFile) };
  const { vm } = await driver.restore(spec, signal);
  undo.push('end hypervisor', () => vm.kill());
  const { workloadLogOffset } = capture;
  const logStart = handoffs === undefined ? workloadLogOffset : { beginAt: workloadLogOffset };
  const running = await context.running.openLink(vm, parked, paths, logStart, signal);
  undo.push('close link', () => closeLink(running));
  if (handoffs !== undefined) {
    await using memory = await vm.openMemory();
    await handoffs.apply(memory, parked);
  }
  running.link.wake();
  signal.throwIfAborted();
  let instance = changed(parked, 'RUNNING', { capture: undefined, vmm: vm.process });
  await save(context, instance, { durable: false });
  undo.push('park again', () => save(context, parked, { durable: false }));
  await vm.resume(signal);
  if (handoffs !== undefined) {
    try {
      await handoffs.afterResume({ link: running.link, resumedAt: performance.now() }, signal);
    } catch (error) {
      throw await withConsoleTail(error, paths);
    }
    instance = changed(instance, 'RUNNING', { identityPending: undefined });
    await save(context, instance, { durable: false });
  }
  undo.release();
  context.mailboxIndexes.forget(paths);
  context.running.add(parked.id, running);
  // Its workload was frozen for the capture; an identity that was handed over lets it go by itself.
  if (handoffs === undefined) await thaw(running.link, instance.name, context.logger);
  return instance;
}
