import { availableParallelism } from 'node:os';
import { Aborted } from '@offshoot/shared/errors.js';
import type { ForkInstancesCommand, ForkInstanceCommand, ForkOutcome, ForkResult } from './commands.js';
import type { Context } from './context.js';
import { deleteInstance } from './delete-instance.js';
import { openForkBase } from './fork-base.js';
import { bookForks } from './fork-booking.js';
import { assertRoom } from './fork-room.js';
import { checkBeforeCapture, prepareFork, type PreparedFork } from './fork-instance.js';
import { Stopwatch } from './stopwatch.js';
import { Operation } from './operation.js';
import { UndoStack } from './undo-stack.js';

/** Forks under way at a time: their guests start at once, and more than so many would only wait for each other's CPU. */
const PARALLEL_FORKS = 2 * availableParallelism();

/**
 * Makes many forks of one moment of the source and gives each as it is ready. Everything that can be checked is, for all of
 * them, before the first is begun. A caller that goes away ends those under way; the ones it was told of stay.
 * @param wanted which of them are to be made; an earlier call may have made the others
 */
export async function* forkInstances(
  context: Context,
  command: ForkInstancesCommand,
  wanted: (index: number) => boolean,
  signal: AbortSignal,
): AsyncGenerator<ForkOutcome, void, undefined> {
  const commands = commandsOf(command).filter(({ index }) => wanted(index));
  for (const each of commands) checkBeforeCapture(context, each.command);
  assertRoom(context, commands.length);
  using memory = bookForks(context, command.fork, commands.length);
  await using base = await openForkBase(context, command.fork, signal);
  await using prepared = new UndoStack(context.logger);
  const { request } = context;
  const forks: IndexedFork[] = [];
  for (const each of commands) {
    const { index } = each;
    const part = { ...context, request: request === undefined ? undefined : { ...request, part: index } };
    const fork = await prepareFork(part, base, each.command, signal);
    prepared.push('close hand-offs', () => {
      fork[Symbol.dispose]();
    });
    forks.push({ index, fork });
  }

  const ended = new AbortController();
  const working = AbortSignal.any([signal, ended.signal]);
  await using whole = command.allOrNothing ? Operation.begin(context, 'fork-all', base.source.id, signal) : undefined;
  const making = new ParallelForks(forks, async (fork, index) => {
    try {
      return await fork.make(working, new Stopwatch(), whole);
    } finally {
      memory.release(index);
    }
  });
  try {
    if (whole === undefined) yield* making.outcomes();
    else {
      const made = await all(context, making, ended);
      for (const { result } of made) if (result !== undefined) whole.push('remove fork', () => remove(context, result));
      whole.stand(new Map(made.map(({ index, result }) => [index, result])));
      yield* made;
    }
  } finally {
    // The caller went away, or there are none left: those under way are undone before their base goes.
    ended.abort(new Aborted('the caller of these forks went away', { reason: 'CALL_CANCELLED' }));
    // One that was ready all the same is of use only to a caller that can ask for it again.
    for (const { result } of await making.rest())
      if (result !== undefined && (request === undefined || whole !== undefined)) await remove(context, result);
  }
}

/** "job" with a count of 2 gives "job-0" and "job-1". */
function commandsOf({
  fork,
  count,
  mailboxesByIndex,
}: ForkInstancesCommand): { readonly index: number; readonly command: ForkInstanceCommand }[] {
  return Array.from({ length: count }, (_, index) => ({
    index,
    command: {
      ...fork,
      name: fork.name === undefined ? undefined : `${fork.name}-${String(index)}`,
      mailboxes: [...fork.mailboxes, ...(mailboxesByIndex[index] ?? [])],
    },
  }));
}

interface IndexedFork {
  readonly index: number;
  readonly fork: PreparedFork;
}

/** Forks being made, so many at a time; each outcome is given as it comes. */
class ParallelForks {
  private readonly underWay = new Map<number, Promise<ForkOutcome>>();
  private next = 0;

  constructor(
    private readonly forks: readonly IndexedFork[],
    private readonly make: (fork: PreparedFork, index: number) => Promise<ForkResult>,
  ) {}

  async *outcomes(): AsyncGenerator<ForkOutcome, void, undefined> {
    for (;;) {
      for (; this.underWay.size < PARALLEL_FORKS; this.next++) {
        const next = this.forks[this.next];
        if (next === undefined) break;
        this.underWay.set(next.index, this.outcomeOf(next));
      }
      if (this.underWay.size === 0) return;
      const outcome = await Promise.race(this.underWay.values());
      this.underWay.delete(outcome.index);
      yield outcome;
    }
  }

  /** Outcomes of the forks still under way; no further one is begun. */
  rest(): Promise<readonly ForkOutcome[]> {
    this.next = this.forks.length;
    return Promise.all(this.underWay.values());
  }

  private async outcomeOf({ index, fork }: IndexedFork): Promise<ForkOutcome> {
    try {
      return { index, result: await this.make(fork, index) };
    } catch (error) {
      return { index, error };
    }
  }
}

/** All of them, or the first error with none of them left. */
async function all(context: Context, making: ParallelForks, ended: AbortController): Promise<readonly ForkOutcome[]> {
  const made: ForkOutcome[] = [];
  let failure: { readonly error: unknown } | undefined;
  for await (const outcome of making.outcomes()) {
    if (outcome.result === undefined) {
      failure ??= { error: outcome.error };
      ended.abort(new Aborted('another fork of the call failed', { reason: 'CALL_CANCELLED' }));
    } else made.push(outcome);
  }
  if (failure === undefined) return made;
  for (const { result } of made) if (result !== undefined) await remove(context, result);
  throw failure.error;
}

const remove = (context: Context, { instance }: ForkResult): Promise<void> =>
  deleteInstance({ ...context, request: undefined }, instance.id, true, new AbortController().signal);
