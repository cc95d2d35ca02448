import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openStateDatabase } from './state-database.js';

describe('a state database of an older version', () => {
  let directory: string;
  let path: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'offshoot-schema-'));
    path = join(directory, 'state.db');
  });
  afterEach(() => {
    rmSync(directory, { recursive: true });
  });

  it('has its disks in overlays: there was nothing else before storages were recorded', () => {
    openStateDatabase(path).close();
    {
      const old = new Database(path);
      old.prepare("INSERT INTO instances VALUES ('i', 'vm', 'STOPPED', 0, ?)").run('{"id":"i","createdAt":"2026"}');
      old
        .prepare("INSERT INTO snapshots VALUES ('s', 'snap', ?)")
        .run('{"id":"s","stamps":{"memory":{"size":1.5e10}}}');
      old.exec('ALTER TABLE journal DROP COLUMN image');
      old.pragma('user_version = 4');
      old.close();
    }
    const database = openStateDatabase(path);
    const records = ['instances', 'snapshots'].map(
      (table) =>
        JSON.parse(database.prepare<[], { record: string }>(`SELECT record FROM ${table}`).get()!.record) as unknown,
    );
    database.close();
    expect(records).toEqual([
      { id: 'i', createdAt: '2026', storage: 'overlay' },
      { id: 's', stamps: { memory: { size: 1.5e10 } }, storage: 'overlay' },
    ]);
  });
});
