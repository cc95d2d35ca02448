import type { AnswerKey } from '../ports/answers.js';
import type { Dependencies } from './dependencies.js';
import type { LayerMerger } from './layer-merger.js';
import type { Locks } from './locks.js';
import type { MailboxIndexes } from './mailbox-indexes.js';
import type { MemoryBudget } from './memory-budget.js';
import type { RunningInstances } from './running-instances.js';
import type { SnapshotSealer } from './snapshot-sealer.js';
import type { UnderWay } from './under-way.js';

/** What one operation shares with the others; and whose request it carries out. */
export interface Context extends Dependencies {
  readonly running: RunningInstances;
  readonly locks: Locks;
  readonly mailboxIndexes: MailboxIndexes;
  readonly memory: MemoryBudget;
  readonly sealer: SnapshotSealer;
  readonly merger: LayerMerger;
  readonly underWay: UnderWay;
  /** Undefined: its caller gave it no id. */
  readonly request: AnswerKey | undefined;
}
