import type { Capture } from '../domain/instance.js';
import { assertFreeBytes } from '../os/disk-space.js';
import type { ForkInstanceCommand, ForkResult } from './commands.js';
import type { Context } from './context.js';
import { NO_TIME, forkDraft } from './fork-draft.js';
import type { ForkBase } from './fork-base.js';
import { changed, save } from './instance-record.js';
import { reserveInstance } from './new-instance.js';
import type { Stopwatch } from './stopwatch.js';
import { UndoStack } from './undo-stack.js';

/** Room for the disk's data, in bytes. */
const DISK_MARGIN_BYTES = 64 * 2 ** 20;

/** Makes a fork of a base with memory that stays parked: it gets its identity when it is restored. */
export async function forkParked(
  context: Context,
  { source, capture, files, sourcePauseMs, sourceDisk }: Omit<ForkBase, 'capture'> & { readonly capture: Capture },
  command: ForkInstanceCommand,
  signal: AbortSignal,
  watch: Stopwatch,
): Promise<ForkResult> {
  await assertFreeBytes(context.paths.root, DISK_MARGIN_BYTES, 'forking this instance');
  await using undo = new UndoStack(context.logger);
  const reserved = reserveInstance(context, forkDraft(source, command), undo);
  const paths = context.paths.instance(reserved.id);
  undo.push('remove folder', () => context.files.remove(reserved.id));
  await context.files.create(reserved);
  const [disk] = await Promise.all([
    context.disks.clone(files, paths, signal),
    context.files.shareCapture(files, paths),
    context.files.copyWorkload(files, paths),
  ]);
  signal.throwIfAborted();
  const instance = changed(reserved, 'STANDBY', { capture, identityPending: true });
  await save(context, instance, { durable: false });
  undo.release();
  const clone = watch.lap();
  const timings = { ...NO_TIME, clone, total: watch.total, sourcePause: sourcePauseMs };
  return { instance, acks: [], disk, sourceDisk, timings };
}
