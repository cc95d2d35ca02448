import type { Instance } from '../domain/instance.js';
import { bootInstance } from './boot.js';
import { assertCloneRoom } from './clone-room.js';
import type { ForkInstanceCommand, ForkResult, ForkTimings } from './commands.js';
import type { Context } from './context.js';
import { usableDriver } from './drivers.js';
import type { ForkBase } from './fork-base.js';
import { NO_TIME, forkDraft } from './fork-draft.js';
import { changed } from './instance-record.js';
import { reserveInstance } from './new-instance.js';
import { Operation } from './operation.js';
import { removeInstanceFiles } from './remove-files.js';
import type { Stopwatch } from './stopwatch.js';

/** Makes a fork of a base's disk alone: stopped, or booted from it. */
export async function forkDisk(
  context: Context,
  { source, files, sourcePauseMs, sourceDisk }: ForkBase,
  command: ForkInstanceCommand,
  target: 'RUNNING' | 'STOPPED',
  signal: AbortSignal,
  watch: Stopwatch,
  whole?: Operation,
): Promise<ForkResult> {
  const { imageId, memoryBytes } = source;
  const driver = await usableDriver(context, source.driver, signal);
  const disks = context.disks.of(source);
  await assertCloneRoom(context, source, files, 'forking this instance', target === 'RUNNING' ? memoryBytes : 0);

  await using operation = Operation.begin(context, 'fork-disk', undefined, signal, whole);
  const reserved = reserveInstance(context, forkDraft(source, command), operation);
  operation.reserved(reserved.id);
  operation.push('remove folder', () => removeInstanceFiles(context, reserved));
  await context.files.createFrom(files, reserved, signal);
  operation.reached('folder');
  const paths = context.paths.instance(reserved.id);
  const disk = await disks.clone(files, paths, signal);
  operation.reached('disk');
  const clone = watch.lap();
  const timings: ForkTimings = { ...NO_TIME, clone, sourcePause: sourcePauseMs };
  if (target === 'STOPPED') {
    const instance = changed(reserved, 'STOPPED', {});
    const answer = { instance, acks: [], disk, sourceDisk, timings: { ...timings, total: watch.total } };
    await operation.record(instance, { durable: false, before: reserved, answer });
    operation.release();
    return answer;
  }
  const image = await context.images.resolve(imageId);
  const workload = await context.files.loadWorkload(reserved.id);
  const answerOf = (instance: Instance): ForkResult => ({
    instance,
    acks: [],
    disk,
    sourceDisk,
    timings: { ...timings, total: watch.total },
  });
  const order = { instance: reserved, image, driver, workload, answerOf };
  return await bootInstance(context, order, operation, signal);
}
