import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { mintInstanceId, parseImageId } from '../domain/ids.js';
import { SqliteJournal } from './sqlite-journal.js';
import { openStateDatabase } from './state-database.js';

describe('the journal', () => {
  let directory: string;
  let database: Database.Database;
  let journal: SqliteJournal;
  const open = (): void => {
    database = openStateDatabase(join(directory, 'state.db'));
    journal = new SqliteJournal(database);
  };
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'offshoot-journal-'));
    open();
  });
  afterEach(() => {
    database.close();
    rmSync(directory, { recursive: true });
  });
  const nobody = { instance: undefined, image: undefined, request: undefined, partOf: undefined };
  const entry = { ...nobody, operation: 'fork-memory' } as const;

  it('tells the next daemon what was under way, and the step it had reached', () => {
    const id = journal.begin({ ...entry, operation: 'standby-instance', instance: mintInstanceId() });
    journal.end(journal.begin(entry));
    journal.reached(id, 'hold');
    database.close();
    open();
    expect(journal.unfinished()).toMatchObject([{ id, operation: 'standby-instance', step: 'hold' }]);
    expect(Date.parse(journal.unfinished()[0]!.begunAt)).toBeLessThanOrEqual(Date.now());
  });

  it('begins an operation at its first step, and learns of the instance it makes when there is one', () => {
    const id = journal.begin(entry);
    expect(journal.unfinished()).toMatchObject([{ step: 'begun', instance: undefined }]);
    const instance = mintInstanceId();
    journal.reached(id, 'reserve', instance);
    journal.reached(id, 'folder');
    expect(journal.unfinished()).toMatchObject([{ step: 'folder', instance }]);
  });

  it('knows which image an operation is about', () => {
    const image = parseImageId('ab'.repeat(32));
    journal.begin({ ...entry, operation: 'delete-image', image });
    expect(journal.unfinished()).toMatchObject([{ operation: 'delete-image', instance: undefined, image }]);
  });

  it('ends an operation with all its parts at once', () => {
    const whole = journal.begin({ ...entry, operation: 'fork-all' });
    const other = journal.begin(entry);
    for (let part = 0; part < 3; part++) journal.begin({ ...entry, partOf: whole });
    journal.end(whole);
    expect(journal.unfinished().map(({ id }) => id)).toEqual([other]);
    journal.end(whole);
  });

  it('changes all rows of a transaction or none', () => {
    const id = journal.begin(entry);
    expect(() =>
      journal.atomically(() => {
        journal.reached(id, 'record');
        throw new Error('no room');
      }),
    ).toThrow('no room');
    expect(journal.unfinished()).toMatchObject([{ step: 'begun' }]);
  });
});
