import type { Instance } from '../domain/instance.js';
import type { ForkInstanceCommand } from './commands.js';
import type { Context } from './context.js';
import { CLONE_MEMORY_BYTES, type MemoryBooking } from './memory-budget.js';

/**
 * Sets memory aside for so many forks of the source as it stands now: part by part the forks', then that of the VMM a source
 * booted here moves to at its first capture.
 * @throws Capacity
 */
export function bookForks(context: Context, command: ForkInstanceCommand, count: number): MemoryBooking {
  const { hasMemory, memoryBytes, successor } = sourceOf(context, command);
  const target = command.targetState ?? (hasMemory ? 'RUNNING' : 'STOPPED');
  const each = target !== 'RUNNING' ? 0 : hasMemory ? CLONE_MEMORY_BYTES : memoryBytes;
  const what = count === 1 ? 'this fork' : `making ${String(count)} forks`;
  return context.memory.book([...Array.from({ length: count }, () => each), ...successor], what);
}

/** What the VMM needs that an instance moves to at its first capture; nothing for one that runs in such a one, or not at all. */
export const successorMemory = ({ vmm }: Instance): number[] =>
  vmm?.privateMemory === false ? [CLONE_MEMORY_BYTES] : [];

function sourceOf(
  { store, snapshots }: Context,
  { of, source: reference }: ForkInstanceCommand,
): { readonly hasMemory: boolean; readonly memoryBytes: number; readonly successor: readonly number[] } {
  if (of === 'snapshot') {
    const { capture, memoryBytes } = snapshots.resolve(reference);
    return { hasMemory: capture !== undefined, memoryBytes, successor: [] };
  }
  const source = store.resolve(reference);
  const { state, memoryBytes } = source;
  return { hasMemory: state !== 'STOPPED', memoryBytes, successor: successorMemory(source) };
}
