import { assertFreeBytes } from '../os/disk-space.js';
import { BOOT_MARGIN_BYTES, bootInstance } from './boot.js';
import type { ForkInstanceCommand, ForkResult, ForkTimings } from './commands.js';
import type { Context } from './context.js';
import { usableDriver } from './drivers.js';
import type { ForkBase } from './fork-base.js';
import { NO_TIME, forkDraft } from './fork-draft.js';
import { changed, save } from './instance-record.js';
import { reserveInstance } from './new-instance.js';
import type { Stopwatch } from './stopwatch.js';
import { UndoStack } from './undo-stack.js';

/** Makes a fork of a base's disk alone: stopped, or booted from it. */
export async function forkDisk(
  context: Context,
  { source, files, sourcePauseMs, sourceDisk }: ForkBase,
  command: ForkInstanceCommand,
  target: 'RUNNING' | 'STOPPED',
  signal: AbortSignal,
  watch: Stopwatch,
): Promise<ForkResult> {
  const { imageId, memoryBytes } = source;
  const driver = await usableDriver(context, source.driver, signal);
  const needed = (target === 'RUNNING' ? memoryBytes : 0) + BOOT_MARGIN_BYTES;
  await assertFreeBytes(context.paths.root, needed, 'forking this instance');

  await using undo = new UndoStack(context.logger);
  const reserved = reserveInstance(context, forkDraft(source, command), undo);
  undo.push('remove folder', () => context.files.remove(reserved.id));
  await context.files.create(reserved);
  const paths = context.paths.instance(reserved.id);
  await context.files.copyWorkload(files, paths);
  const disk = await context.disks.clone(files, paths, signal);
  const clone = watch.lap();
  const timings: ForkTimings = { ...NO_TIME, clone, sourcePause: sourcePauseMs };
  if (target === 'STOPPED') {
    signal.throwIfAborted();
    const instance = changed(reserved, 'STOPPED', {});
    await save(context, instance, { durable: false });
    undo.release();
    return { instance, acks: [], disk, sourceDisk, timings: { ...timings, total: watch.total } };
  }
  const image = await context.images.resolve(imageId);
  const workload = await context.files.loadWorkload(reserved.id);
  const instance = await bootInstance(context, { instance: reserved, image, driver, workload }, signal);
  undo.release();
  return { instance, acks: [], disk, sourceDisk, timings: { ...timings, total: watch.total } };
}
