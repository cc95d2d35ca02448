import type { Capture } from '../domain/instance.js';
import { assertCloneRoom } from './clone-room.js';
import type { ForkInstanceCommand, ForkResult } from './commands.js';
import type { Context } from './context.js';
import { usableDriver } from './drivers.js';
import { withConsoleTail } from './failure.js';
import type { ForkBase } from './fork-base.js';
import { forkDraft } from './fork-draft.js';
import type { ForkHandoffs } from './handoffs/fork-handoffs.js';
import { changed } from './instance-record.js';
import { machineSpec } from './machine-spec.js';
import { reserveInstance } from './new-instance.js';
import { Operation } from './operation.js';
import { removeInstanceFiles } from './remove-files.js';
import { closeLink } from './running-instances.js';
import type { Stopwatch } from './stopwatch.js';

/** Makes a running fork of a base with memory: its own identity and mailboxes are in its RAM before its first instruction. */
export async function forkMemory(
  context: Context,
  { source, capture, files, sourcePauseMs, sourceDisk }: Omit<ForkBase, 'capture'> & { readonly capture: Capture },
  command: ForkInstanceCommand,
  handoffs: ForkHandoffs,
  signal: AbortSignal,
  watch: Stopwatch,
  whole?: Operation,
): Promise<ForkResult> {
  const driver = await usableDriver(context, source.driver, signal);
  const disks = context.disks.of(source);
  await assertCloneRoom(context, source, files, 'forking this instance');

  await using operation = Operation.begin(context, 'fork-memory', undefined, signal, whole);
  const reserved = reserveInstance(context, forkDraft(source, command), operation);
  operation.reserved(reserved.id);
  const paths = context.paths.instance(reserved.id);
  operation.push('remove folder', () => removeInstanceFiles(context, reserved));
  await context.files.createFrom(files, reserved, signal);
  operation.reached('folder');
  const [disk] = await Promise.all([disks.clone(files, paths, signal), context.files.shareMemory(files.memory, paths)]);
  operation.reached('files');
  const clone = watch.lap();

  using nic = context.network.attach(reserved.network, driver.tapKind);
  const spec = { ...machineSpec(reserved, paths, nic.backend), capture, stateFile: files.deviceState };
  const { vm, timings } = await driver.restore(spec, signal);
  operation.push('end hypervisor', () => vm.kill());
  nic.passTo(vm.process.pid);
  operation.reached('launch');
  const running = await context.running.openLink(vm, reserved, paths, capture.workloadLogOffset, signal);
  operation.push('close link', () => closeLink(running));
  operation.reached('link');
  watch.lap();

  {
    await using memory = await vm.openMemory();
    await handoffs.apply(memory, reserved, running.credential);
  }
  operation.reached('patch');
  const patch = watch.lap();

  // The guest's agent finds these bytes when it resumes, and looks at its mailboxes at once.
  running.link.wake();
  await vm.resume(signal);
  operation.reached('resume');
  const resume = watch.lap();

  try {
    const { acks, networkMs, ackMs } = await handoffs.afterResume({ link: running.link, resumedAt: watch.now }, signal);
    operation.reached('acks');
    running.link.speak();
    const instance = changed(reserved, 'RUNNING', { vmm: vm.process });
    const { spawnMs: spawn, loadMs: load } = timings;
    const result: ForkResult = {
      instance,
      acks,
      disk,
      sourceDisk,
      timings: {
        clone,
        spawn,
        load,
        patch,
        resume,
        network: networkMs,
        ack: ackMs,
        total: watch.total,
        sourcePause: sourcePauseMs,
      },
    };
    await operation.record(instance, { durable: false, before: reserved, answer: result });
    operation.release();
    context.running.add(instance.id, running);
    return result;
  } catch (error) {
    throw await withConsoleTail(error, paths);
  }
}
