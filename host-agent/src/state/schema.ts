import { Corrupt } from '@offshoot/shared/errors.js';
import type { Database } from 'better-sqlite3';

/** One entry a version; version N is reached by running the first N. Never edit one that was released: add. */
const MIGRATIONS: readonly string[] = [
  `CREATE TABLE instances (
     id     TEXT PRIMARY KEY,
     name   TEXT NOT NULL UNIQUE,
     state  TEXT NOT NULL,
     slot   INTEGER NOT NULL UNIQUE,
     record TEXT NOT NULL
   ) STRICT`,
  `CREATE TABLE snapshots (
     id     TEXT PRIMARY KEY,
     name   TEXT NOT NULL UNIQUE,
     record TEXT NOT NULL
   ) STRICT`,
  `CREATE TABLE journal (
     id         INTEGER PRIMARY KEY,
     operation  TEXT NOT NULL,
     instance   TEXT,
     request    TEXT,
     part_of    INTEGER,
     step       TEXT NOT NULL,
     begun_at   TEXT NOT NULL
   ) STRICT`,
  `CREATE TABLE answers (
     id          INTEGER PRIMARY KEY AUTOINCREMENT,
     request_id  TEXT NOT NULL,
     part        INTEGER NOT NULL,
     method      TEXT NOT NULL,
     fingerprint TEXT NOT NULL,
     answer      TEXT NOT NULL,
     kept_at     INTEGER NOT NULL,
     UNIQUE (request_id, part)
   ) STRICT;
   CREATE INDEX answers_by_age ON answers (kept_at)`,
  // There was one way to keep a disk, which went without saying.
  `UPDATE instances SET record = json_set(record, '$.storage', 'overlay');
   UPDATE snapshots SET record = json_set(record, '$.storage', 'overlay')`,
  'ALTER TABLE journal ADD COLUMN image TEXT',
];

/** Brings the database to this version's schema. @throws Corrupt when a newer version wrote it */
export function migrate(database: Database): void {
  const version = database.pragma('user_version', { simple: true }) as number;
  if (version > MIGRATIONS.length)
    throw new Corrupt(
      `the state database has schema version ${String(version)}, this daemon knows up to ${String(MIGRATIONS.length)}: use the version that wrote it, or a newer one`,
      { reason: 'STATE_DATABASE_TOO_NEW' },
    );
  database.transaction(() => {
    for (const statement of MIGRATIONS.slice(version)) database.exec(statement);
    database.pragma(`user_version = ${String(MIGRATIONS.length)}`);
  })();
}
