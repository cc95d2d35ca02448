import type { Capture } from '../domain/instance.js';
import { assertCloneRoom } from './clone-room.js';
import type { ForkInstanceCommand, ForkResult } from './commands.js';
import type { Context } from './context.js';
import { NO_TIME, forkDraft } from './fork-draft.js';
import type { ForkBase } from './fork-base.js';
import { changed } from './instance-record.js';
import { reserveInstance } from './new-instance.js';
import { Operation } from './operation.js';
import { removeInstanceFiles } from './remove-files.js';
import type { Stopwatch } from './stopwatch.js';

/** Makes a fork of a base with memory that stays parked: it gets its identity when it is restored. */
export async function forkParked(
  context: Context,
  { source, capture, files, sourcePauseMs, sourceDisk }: Omit<ForkBase, 'capture'> & { readonly capture: Capture },
  command: ForkInstanceCommand,
  signal: AbortSignal,
  watch: Stopwatch,
  whole?: Operation,
): Promise<ForkResult> {
  const disks = context.disks.of(source);
  await assertCloneRoom(context, source, files, 'forking this instance');
  await using operation = Operation.begin(context, 'fork-parked', undefined, signal, whole);
  const reserved = reserveInstance(context, forkDraft(source, command), operation);
  operation.reserved(reserved.id);
  const paths = context.paths.instance(reserved.id);
  operation.push('remove folder', () => removeInstanceFiles(context, reserved));
  await context.files.createFrom(files, reserved, signal);
  operation.reached('folder');
  const [disk] = await Promise.all([disks.clone(files, paths, signal), context.files.shareCapture(files, paths)]);
  operation.reached('files');
  const instance = changed(reserved, 'STANDBY', { capture, identityPending: true });
  const clone = watch.lap();
  const timings = { ...NO_TIME, clone, total: watch.total, sourcePause: sourcePauseMs };
  const answer: ForkResult = { instance, acks: [], disk, sourceDisk, timings };
  await operation.record(instance, { durable: false, before: reserved, answer });
  operation.release();
  return answer;
}
