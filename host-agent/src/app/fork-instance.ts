import { join } from 'node:path';
import { assertFreeBytes } from '../os/disk-space.js';
import { assertAllowed } from '../domain/instance-state.js';
import type { ForkInstanceCommand, ForkResult } from './commands.js';
import type { Context } from './context.js';
import { assertCapability, usableDriver } from './drivers.js';
import { withConsoleTail } from './failure.js';
import { ForkHandoffs } from './handoffs/fork-handoffs.js';
import { changed, save } from './instance-record.js';
import { machineSpec } from './machine-spec.js';
import { reserveInstance } from './new-instance.js';
import { captureOf } from './restore-instance.js';
import { closeLink } from './running-instances.js';
import { Stopwatch } from './stopwatch.js';
import { UndoStack } from './undo-stack.js';

/** Room for what the fork itself writes at first, in bytes. */
const DISK_MARGIN_BYTES = 64 * 2 ** 20;

/** Makes a running fork of a parked instance; on any failure nothing of it is left, and the source is as it was. */
export async function forkInstance(
  context: Context,
  command: ForkInstanceCommand,
  signal: AbortSignal,
): Promise<ForkResult> {
  const watch = new Stopwatch();
  const { id: sourceId } = context.store.resolve(command.source);
  using _lock = await context.locks.shared(sourceId, signal);
  const source = context.store.resolve(sourceId);
  assertAllowed('fork', source.name, source.state);
  assertCapability(source.driver, 'fork');
  if (command.mailboxes.length > 0) assertCapability(source.driver, 'mailbox');
  const driver = await usableDriver(context, source.driver, signal);
  const capture = captureOf(context, source);
  const sourcePaths = context.paths.instance(sourceId);

  await using undo = new UndoStack(context.logger);
  using handoffs = new ForkHandoffs(context, command);
  await handoffs.prepare({ instance: source, capture, paths: sourcePaths }, signal);
  await assertFreeBytes(context.paths.root, DISK_MARGIN_BYTES, 'forking this instance');
  const checking = watch.lap();

  const reserved = reserveInstance(
    context,
    {
      name: command.name,
      labels: command.labels,
      imageId: source.imageId,
      driver: source.driver,
      vcpus: source.vcpus,
      memoryBytes: source.memoryBytes,
      forkedFrom: sourceId,
      ...(source.agent === undefined ? {} : { agent: source.agent }),
    },
    undo,
  );
  const paths = context.paths.instance(reserved.id);
  undo.push('remove folder', () => context.files.remove(reserved.id));
  await context.files.create(reserved);
  await Promise.all([
    context.files.shareMemory(sourceId, reserved.id),
    context.disks.clone(sourcePaths.disk, paths.disk, signal),
  ]);
  const clone = watch.lap();

  using nic = context.network.attach(reserved.network);
  const spec = {
    ...machineSpec(reserved, paths, nic.backend),
    capture,
    stateFile: join(sourcePaths.root, capture.stateFile),
  };
  const { vm, timings } = await driver.restore(spec, signal);
  undo.push('end hypervisor', () => vm.kill());
  const running = await context.running.openLink(vm, reserved, paths, capture.workloadLogOffset, signal);
  undo.push('close link', () => closeLink(running));
  watch.lap();

  {
    await using memory = await vm.openMemory();
    await handoffs.apply(memory, reserved);
  }
  const patch = watch.lap();

  // The guest's agent finds these bytes when it resumes, and looks at its mailboxes at once.
  running.link.wake();
  await vm.resume(signal);
  const resume = watch.lap();

  try {
    const { acks, networkMs, ackMs } = await handoffs.afterResume({ link: running.link, resumedAt: watch.now }, signal);
    signal.throwIfAborted();
    const instance = changed(reserved, 'RUNNING', { vmm: vm.process });
    await save(context, instance, { durable: false });
    undo.release();
    context.running.add(instance.id, running);
    return {
      instance,
      acks,
      timings: {
        clone: checking + clone,
        spawn: timings.spawnMs,
        load: timings.loadMs,
        patch,
        resume,
        network: networkMs,
        ack: ackMs,
        total: watch.total,
      },
    };
  } catch (error) {
    throw await withConsoleTail(error, paths);
  }
}
