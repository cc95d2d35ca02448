import { InvalidState } from '@offshoot/shared/errors.js';
import type { ForkInstanceCommand, ForkResult } from './commands.js';
import type { Context } from './context.js';
import { openForkBase, type ForkBase } from './fork-base.js';
import { bookForks } from './fork-booking.js';
import { forkDisk } from './fork-disk.js';
import { forkMemory } from './fork-memory.js';
import { forkParked } from './fork-parked.js';
import { assertRoom } from './fork-room.js';
import { ForkHandoffs } from './handoffs/fork-handoffs.js';
import type { Operation } from './operation.js';
import { Stopwatch } from './stopwatch.js';

/** Makes one fork; on any failure nothing of it is left, and the source is as it was. */
export async function forkInstance(
  context: Context,
  command: ForkInstanceCommand,
  signal: AbortSignal,
): Promise<ForkResult> {
  const watch = new Stopwatch();
  checkBeforeCapture(context, command);
  assertRoom(context, 1);
  using _memory = bookForks(context, command, 1);
  await using base = await openForkBase(context, command, signal);
  using fork = await prepareFork(context, base, command, signal);
  return await fork.make(signal, watch);
}

/** A fork that has been checked and can be made. */
export interface PreparedFork extends Disposable {
  /** @param whole what the fork stands or falls with */
  make(signal: AbortSignal, watch: Stopwatch, whole?: Operation): Promise<ForkResult>;
}

/** What can be refused without touching the source, and so must be before it is paused. @throws AlreadyExists, InvalidState */
export function checkBeforeCapture(
  { store, snapshots }: Context,
  { name, source, of, mailboxes, targetState }: ForkInstanceCommand,
): void {
  const diskAlone =
    of === 'snapshot' ? snapshots.resolve(source).capture === undefined : store.resolve(source).state === 'STOPPED';
  if (name !== undefined) store.assertNameFree(name);
  const what = of === 'snapshot' ? 'a snapshot of a stopped instance' : 'a stopped instance';
  if (diskAlone && targetState === 'STANDBY')
    throw new InvalidState(`${what} has no memory to fork: a fork of it can be STOPPED or RUNNING`, {
      reason: 'STANDBY_NEEDS_MEMORY',
    });
  if (mailboxes.length === 0) return;
  if (diskAlone)
    throw new InvalidState(
      `${what} has no memory to deliver mailboxes into: fork a running one, or without mailboxes`,
      {
        reason: 'MAILBOXES_NEED_MEMORY',
      },
    );
  if (targetState !== undefined && targetState !== 'RUNNING')
    throw new InvalidState(
      `a fork that is to be ${targetState} cannot take mailboxes, which are for a guest that runs: leave target_state out, or the mailboxes`,
      { reason: 'MAILBOXES_NEED_MEMORY', metadata: { target_state: targetState } },
    );
}

/** Checks everything of one fork of a base; nothing is written. */
export async function prepareFork(
  context: Context,
  base: ForkBase,
  command: ForkInstanceCommand,
  signal: AbortSignal,
): Promise<PreparedFork> {
  const { capture } = base;
  const target = command.targetState ?? (capture === undefined ? 'STOPPED' : 'RUNNING');
  if (capture === undefined || target === 'STOPPED')
    return {
      make: (makeSignal, watch, whole) =>
        forkDisk(context, base, command, target === 'RUNNING' ? target : 'STOPPED', makeSignal, watch, whole),
      [Symbol.dispose]: () => undefined,
    };
  if (target === 'STANDBY')
    return {
      make: (makeSignal, watch, whole) => forkParked(context, { ...base, capture }, command, makeSignal, watch, whole),
      [Symbol.dispose]: () => undefined,
    };
  const handoffs = new ForkHandoffs(context, command);
  try {
    await handoffs.prepare({ instance: base.source, capture, files: base.files }, signal);
  } catch (error) {
    handoffs[Symbol.dispose]();
    throw error;
  }
  return {
    make: (makeSignal, watch, whole) =>
      forkMemory(context, { ...base, capture }, command, handoffs, makeSignal, watch, whole),
    [Symbol.dispose]: () => {
      handoffs[Symbol.dispose]();
    },
  };
}
