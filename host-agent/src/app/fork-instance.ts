import { AlreadyExists, InvalidState } from '@offshoot/shared/errors.js';
import type { ForkInstanceCommand, ForkResult } from './commands.js';
import type { Context } from './context.js';
import { openForkBase, type ForkBase } from './fork-base.js';
import { forkDisk } from './fork-disk.js';
import { forkMemory } from './fork-memory.js';
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
  { store }: Context,
  { name, source, mailboxes, targetState }: ForkInstanceCommand,
): void {
  const { state } = store.resolve(source);
  if (name !== undefined && store.hasName(name))
    throw new AlreadyExists(`there is an instance named ${name}: choose another name, or delete that one`, {
      reason: 'INSTANCE_NAME_TAKEN',
      metadata: { name },
    });
  if (mailboxes.length > 0 && (state === 'STOPPED' || targetState === 'STOPPED'))
    throw new InvalidState(
      state === 'STOPPED'
        ? `a stopped instance has no memory to deliver mailboxes into: start it first, or fork without mailboxes`
        : `a fork that is to be STOPPED has no memory to deliver mailboxes into: leave target_state out, or the mailboxes`,
      { reason: 'MAILBOXES_NEED_MEMORY', metadata: { state } },
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
      make: (makeSignal, watch, whole) => forkDisk(context, base, command, target, makeSignal, watch, whole),
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
