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
import { Operation } from './operation.js';
import { closeLink } from './running-instances.js';

/** How long a guest may take to have its own identity in force, where that is handed to it; milliseconds. */
const IDENTITY_MS = 10_000;

export interface RestoredInstance {
  readonly instance: Instance;
  readonly restoreMs: number;
}

/** Resumes a parked instance where it stood. On failure it stays parked. */
export async function restoreInstance(
  context: Context,
  reference: string,
  signal: AbortSignal,
): Promise<RestoredInstance> {
  const started = performance.now();
  const { id } = context.store.resolve(reference);
  using _lock = await context.locks.exclusive(id, signal);
  const parked = context.store.resolve(id);
  assertAllowed('restore', parked.name, parked.state);
  using _memory = context.memory.book([CLONE_MEMORY_BYTES], 'restoring this instance');
  return await resumeParked(context, parked, started, signal);
}

/**
 * The same for one whose lock is held. Where the memory is not the instance's own (`identityPending`), its identity is in
 * there before its first instruction, and the answer comes when that is in force, as for a fork.
 * @param started `performance.now()` at the request
 */
export async function resumeParked(
  context: Context,
  parked: Instance,
  started: number,
  signal: AbortSignal,
): Promise<RestoredInstance> {
  await assertCapability(context, parked.driver, 'snapshot', signal);
  const driver = await usableDriver(context, parked.driver, signal);
  context.disks.assertHere(parked);
  const capture = captureFor(context, parked);
  const paths = context.paths.instance(parked.id);
  const identity = { waitForNetwork: true, networkTimeoutMs: IDENTITY_MS, mailboxes: [] };
  using handoffs = parked.identityPending === true ? new ForkHandoffs(context, identity) : undefined;
  await handoffs?.prepare({ instance: parked, capture, files: paths }, signal);

  await context.disks.of(parked).attach(paths, signal);
  await using operation = Operation.begin(context, 'restore-instance', parked.id, signal);
  using nic = context.network.attach(parked.network, driver.tapKind);
  const spec = { ...machineSpec(parked, paths, nic.backend), capture, stateFile: join(paths.root, capture.stateFile) };
  const { vm } = await driver.restore(spec, signal);
  operation.push('end hypervisor', () => vm.kill());
  nic.passTo(vm.process.pid);
  operation.reached('launch');
  const { workloadLogOffset } = capture;
  const logStart = handoffs === undefined ? workloadLogOffset : { beginAt: workloadLogOffset };
  const running = await context.running.openLink(vm, parked, paths, logStart, signal);
  operation.push('close link', () => closeLink(running));
  operation.reached('link');
  if (handoffs !== undefined) {
    await using memory = await vm.openMemory();
    await handoffs.apply(memory, parked, running.credential);
    operation.reached('patch');
  }
  running.link.wake();
  let instance = changed(parked, 'RUNNING', { capture: undefined, vmm: vm.process });
  const answer = (): RestoredInstance => ({ instance, restoreMs: performance.now() - started });
  await operation.record(instance, { durable: false, before: parked, answer: answer() });
  await vm.resume(signal);
  if (handoffs !== undefined) {
    try {
      await handoffs.afterResume({ link: running.link, resumedAt: performance.now() }, signal);
    } catch (error) {
      throw await withConsoleTail(error, paths);
    }
    operation.reached('acks');
    running.link.speak();
    instance = changed(instance, 'RUNNING', { identityPending: undefined });
    await save(context, instance, { durable: false });
  }
  const restored = answer();
  operation.release();
  operation.reached('resume');
  context.mailboxIndexes.forget(paths);
  context.running.add(parked.id, running);
  // Its workload was frozen for the capture; an identity that was handed over lets it go by itself.
  if (handoffs === undefined) await thaw(running, instance.name, context.logger);
  operation.reached('thaw');
  return restored;
}
