import type { Dependencies } from './dependencies.js';
import type { InstanceLocks } from './instance-locks.js';
import type { MailboxIndexes } from './mailbox-indexes.js';
import type { MemoryBudget } from './memory-budget.js';
import type { RunningInstances } from './running-instances.js';

/** What one operation shares with the others. */
export interface Context extends Dependencies {
  readonly running: RunningInstances;
  readonly locks: InstanceLocks;
  readonly mailboxIndexes: MailboxIndexes;
  readonly memory: MemoryBudget;
}
