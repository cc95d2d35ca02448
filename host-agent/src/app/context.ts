import type { AnswerKey } from '../ports/answers.js';
import type { Dependencies } from './dependencies.js';
import type { InstanceLocks } from './instance-locks.js';
import type { MailboxIndexes } from './mailbox-indexes.js';
import type { RunningInstances } from './running-instances.js';

/** What one operation shares with the others; and whose request it carries out. */
export interface Context extends Dependencies {
  readonly running: RunningInstances;
  readonly locks: InstanceLocks;
  readonly mailboxIndexes: MailboxIndexes;
  /** Undefined: its caller gave it no id. */
  readonly request: AnswerKey | undefined;
}
