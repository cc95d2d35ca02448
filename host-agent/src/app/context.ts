import type { Dependencies } from './dependencies.js';
import type { Locks } from './locks.js';
import type { MailboxIndexes } from './mailbox-indexes.js';
import type { MemoryBudget } from './memory-budget.js';
import type { RunningInstances } from './running-instances.js';
import type { SnapshotSealer } from './snapshot-sealer.js';
import type { UnderWay } from './under-way.js';

/** What one operation shares with the others. */
export interface Context extends Dependencies {
  readonly running: RunningInstances;
  readonly locks: Locks;
  readonly mailboxIndexes: MailboxIndexes;
  readonly memory: MemoryBudget;
  readonly sealer: SnapshotSealer;
  readonly underWay: UnderWay;
}
