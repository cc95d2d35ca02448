import type { ImageId, InstanceId } from '../domain/ids.js';
import type { OperationName } from '../domain/operations.js';
import type { AnswerKey } from './answers.js';

/** An operation that has begun and not ended. */
export interface JournalEntry {
  readonly id: number;
  readonly operation: OperationName;
  /** The instance it changes or makes; undefined until there is one. */
  readonly instance: InstanceId | undefined;
  /** The image it changes. */
  readonly image: ImageId | undefined;
  /** The request it carries out, where its caller gave it an id. */
  readonly request: AnswerKey | undefined;
  /** The operation it stands or falls with. */
  readonly partOf: number | undefined;
  /** The step reached last. */
  readonly step: string;
  /** RFC 3339. */
  readonly begunAt: string;
}

/**
 * What is under way, step by step, so that the next daemon knows what a killed one was at. Synchronous, and as durable as
 * the death of a process demands: a power cut may lose the last steps, and no VM outlives it.
 */
export interface Journal {
  /** Writes a new entry, at step `begun`. @returns its id */
  begin(entry: Omit<JournalEntry, 'id' | 'step' | 'begunAt'>): number;
  /** @param instance the one that was made in this step */
  reached(id: number, step: string, instance?: InstanceId): void;
  /** Removes an entry with its parts; one that is gone is success. */
  end(id: number): void;
  /** In the order of their beginning. */
  unfinished(): readonly JournalEntry[];
  /** Runs `work`, whose changes of rows all count or none. */
  atomically<Result>(work: () => Result): Result;
}
