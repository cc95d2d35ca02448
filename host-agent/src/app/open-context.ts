import type { Context } from './context.js';
import type { Dependencies } from './dependencies.js';
import { LayerMerger } from './layer-merger.js';
import { Locks } from './locks.js';
import { MailboxIndexes } from './mailbox-indexes.js';
import { MemoryBudget } from './memory-budget.js';
import { recordExit } from './record-exit.js';
import { RunningInstances } from './running-instances.js';
import { SnapshotSealer } from './snapshot-sealer.js';
import { UnderWay } from './under-way.js';

/** What operations share, around the adapters. {@link closeContext} ends it. */
export function openContext(dependencies: Dependencies): Context {
  const { guestLinks, acks, logger, paths } = dependencies;
  const running = new RunningInstances(guestLinks, acks, logger, (id, exit) => recordExit(dependencies, id, exit));
  const locks = new Locks();
  return {
    ...dependencies,
    running,
    locks,
    mailboxIndexes: new MailboxIndexes(paths, logger),
    memory: new MemoryBudget(dependencies.limits.memoryReserveBytes),
    sealer: new SnapshotSealer(dependencies),
    merger: new LayerMerger({ ...dependencies, locks, running }),
    underWay: new UnderWay(),
    request: undefined,
  };
}

/** Cancels what is under way, waits for its undoing, and lets go of the VMs, which run on. */
export async function closeContext({ underWay, sealer, merger, running }: Context): Promise<void> {
  await underWay.close();
  await sealer.close();
  await merger.close();
  await running.detachAll();
}
