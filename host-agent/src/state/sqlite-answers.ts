import type Database from 'better-sqlite3';
import type { AnswerKey, Answers, KeptAnswer } from '../ports/answers.js';

/**
 * Longer than any caller goes on trying, and than most outages; the Idempotency-Key draft of the IETF and the services that
 * have one (Stripe: 24 h) keep no longer.
 */
const KEPT_MS = 24 * 3600 * 1000;
/** 64 calls of 256 forks; some 2 KB each, so that they stay within tens of megabytes. */
const KEPT_ANSWERS = 64 * 256;

interface Row {
  readonly part: number;
  readonly method: string;
  readonly fingerprint: string;
  readonly answer: string;
}

/** Answers in the daemon's database. */
export class SqliteAnswers implements Answers {
  private readonly statements;

  constructor(
    database: Database.Database,
    private readonly now: () => number = Date.now,
    limit = KEPT_ANSWERS,
  ) {
    this.statements = {
      of: database.prepare<[string, number], Row>(
        'SELECT part, method, fingerprint, answer FROM answers WHERE request_id = ? AND kept_at > ? ORDER BY part',
      ),
      keep: database.prepare<[string, number, string, string, string, number]>(
        `INSERT INTO answers (request_id, part, method, fingerprint, answer, kept_at) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (request_id, part)
         DO UPDATE SET method = excluded.method, fingerprint = excluded.fingerprint, answer = excluded.answer`,
      ),
      forget: database.prepare<[string, number]>('DELETE FROM answers WHERE request_id = ? AND part = ?'),
      dropOld: database.prepare<[number]>('DELETE FROM answers WHERE kept_at <= ?'),
      // Whole requests: of one that has lost some of its answers, a repeat would do those parts again.
      dropMany: database.prepare<[]>(
        `DELETE FROM answers WHERE request_id IN
           (SELECT request_id FROM answers WHERE id <= (SELECT max(id) FROM answers) - ${String(limit)})`,
      ),
    };
  }

  of(requestId: string): readonly KeptAnswer[] {
    return this.statements.of
      .all(requestId, this.now() - KEPT_MS)
      .map(({ answer, ...row }) => ({ id: requestId, ...row, answer: JSON.parse(answer) as unknown }));
  }

  keep({ id, part, method, fingerprint }: AnswerKey, answer: unknown): void {
    const now = this.now();
    this.statements.dropOld.run(now - KEPT_MS);
    this.statements.keep.run(id, part, method, fingerprint, JSON.stringify(answer ?? null), now);
    this.statements.dropMany.run();
  }

  forget({ id, part }: AnswerKey): void {
    this.statements.forget.run(id, part);
  }
}
