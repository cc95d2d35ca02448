import type Database from 'better-sqlite3';
import type { ImageId, InstanceId } from '../domain/ids.js';
import { BEGUN, type OperationName } from '../domain/operations.js';
import type { AnswerKey } from '../ports/answers.js';
import type { Journal, JournalEntry } from '../ports/journal.js';

interface Row {
  readonly id: number;
  readonly operation: OperationName;
  readonly instance: InstanceId | null;
  readonly image: ImageId | null;
  readonly request: string | null;
  readonly part_of: number | null;
  readonly step: string;
  readonly begun_at: string;
}

/** The journal in the daemon's database. One step is one commit: some 0.02 ms, a write to the log without a flush, and a fork takes ten of them. */
export class SqliteJournal implements Journal {
  private readonly statements;

  constructor(private readonly database: Database.Database) {
    this.statements = {
      begin: database.prepare<[string, string | null, string | null, string | null, number | null, string, string]>(
        'INSERT INTO journal (operation, instance, image, request, part_of, step, begun_at) VALUES (?, ?, ?, ?, ?, ?, ?)',
      ),
      reached: database.prepare<[string, string | null, number]>(
        'UPDATE journal SET step = ?, instance = coalesce(?, instance) WHERE id = ?',
      ),
      end: database.prepare<[number, number]>('DELETE FROM journal WHERE id = ? OR part_of = ?'),
      unfinished: database.prepare<[], Row>('SELECT * FROM journal ORDER BY id'),
    };
  }

  begin({ operation, instance, image, request, partOf }: Omit<JournalEntry, 'id' | 'step' | 'begunAt'>): number {
    const { lastInsertRowid } = this.statements.begin.run(
      operation,
      instance ?? null,
      image ?? null,
      request === undefined ? null : JSON.stringify(request),
      partOf ?? null,
      BEGUN,
      new Date().toISOString(),
    );
    return Number(lastInsertRowid);
  }

  reached(id: number, step: string, instance?: InstanceId): void {
    this.statements.reached.run(step, instance ?? null, id);
  }

  end(id: number): void {
    this.statements.end.run(id, id);
  }

  unfinished(): readonly JournalEntry[] {
    return this.statements.unfinished
      .all()
      .map(({ id, operation, instance, image, request, part_of: partOf, step, begun_at: begunAt }) => ({
        id,
        operation,
        instance: instance ?? undefined,
        image: image ?? undefined,
        // Written by this class alone, from values of the type.
        request: request === null ? undefined : (JSON.parse(request) as AnswerKey),
        partOf: partOf ?? undefined,
        step,
        begunAt,
      }));
  }

  atomically<Result>(work: () => Result): Result {
    return this.database.transaction(work)();
  }
}
