import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type Database from 'better-sqlite3';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { mintInstanceId, parseImageId } from '../domain/ids.js';
import type { Instance } from '../domain/instance.js';
import { StatePaths } from '../paths.js';
import { InstanceDirectories } from '../state/instance-directories.js';
import { SqliteAnswers } from '../state/sqlite-answers.js';
import { SqliteInstanceStore } from '../state/sqlite-instance-store.js';
import { SqliteJournal } from '../state/sqlite-journal.js';
import { StateDirectory } from '../state/state-directory.js';
import { openStateDatabase } from '../state/state-database.js';
import { Operation } from './operation.js';

const request = { id: 'r', method: '/offshoot.v1.S/M', fingerprint: 'f', part: 0 };

let root: string;
let directory: StateDirectory;
let database: Database.Database;
let journal: SqliteJournal;
let answers: SqliteAnswers;
let store: SqliteInstanceStore;
let files: InstanceDirectories;
let before: Instance;
beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'offshoot-operation-'));
  directory = await StateDirectory.open(new StatePaths(join(root, 'state')));
  database = openStateDatabase(directory.paths.database);
  journal = new SqliteJournal(database);
  answers = new SqliteAnswers(database);
  store = new SqliteInstanceStore(database);
  files = new InstanceDirectories(directory.paths);
  before = {
    id: mintInstanceId(),
    name: 'vm',
    state: 'STANDBY',
    stateReason: '',
    labels: {},
    imageId: parseImageId('ab'.repeat(32)),
    driver: 'qemu',
    storage: 'overlay',
    vcpus: 1,
    memoryBytes: 2 ** 28,
    network: { slot: 0, mac: '02:4f:0a:d5:00:02', ipv4: '10.213.0.2', prefixLength: 20, gateway: '10.213.0.1' },
    createdAt: '2026-01-01T00:00:00.000Z',
  };
  store.insert(before);
  await files.create(before);
});
afterEach(() => {
  database.close();
  directory[Symbol.dispose]();
  rmSync(root, { recursive: true });
});

const begin = (whole?: Operation, signal?: AbortSignal) =>
  Operation.begin(
    { journal, answers, request, store, files, logger: pino({ level: 'silent' }) },
    'restore-instance',
    before.id,
    signal,
    whole,
  );
const after = (): Instance => ({ ...before, state: 'RUNNING' });
const underWay = () => journal.unfinished().map(({ operation, step }) => `${operation}: ${step}`);

describe('an operation', () => {
  it('records no outcome for a caller that is gone, and is undone', async () => {
    const caller = new AbortController();
    const undone: string[] = [];
    const carriedOut = async (): Promise<void> => {
      await using operation = begin(undefined, caller.signal);
      operation.push('launch', () => void undone.push('launch'));
      caller.abort(new Error('the caller is gone'));
      await operation.record(after(), { durable: false, before, answer: undefined });
    };
    await expect(carriedOut()).rejects.toThrow('the caller is gone');
    expect(undone).toEqual(['launch']);
    expect(store.byId(before.id)).toEqual(before);
    expect(underWay()).toEqual([]);
  });

  it('stands in the journal at the step it has reached, from its beginning to its end', async () => {
    {
      await using operation = begin();
      expect(underWay()).toEqual(['restore-instance: begun']);
      operation.reached('launch');
      expect(underWay()).toEqual(['restore-instance: launch']);
      operation.release();
      operation.reached('resume');
      expect(underWay()).toEqual(['restore-instance: resume']);
    }
    expect(underWay()).toEqual([]);
  });

  it('is undone before it leaves the journal', async () => {
    let seen: string[] = [];
    {
      await using operation = begin();
      operation.push('look', () => {
        seen = underWay();
      });
    }
    expect(seen).toEqual(['restore-instance: begun']);
    expect(underWay()).toEqual([]);
  });

  it('records its outcome and keeps the answer, and takes both back when it fails after all', async () => {
    {
      await using operation = begin();
      await operation.record(after(), { durable: false, before, answer: { instance: after() } });
      expect(underWay()).toEqual(['restore-instance: record']);
      expect(store.byId(before.id)).toEqual(after());
      expect(answers.of('r')).toMatchObject([{ ...request, answer: { instance: after() } }]);
    }
    expect(store.byId(before.id)).toEqual(before);
    expect(answers.of('r')).toEqual([]);
  });

  it('whose outcome cannot be written keeps neither row nor answer', async () => {
    {
      await using operation = begin();
      const unknown = { ...after(), id: mintInstanceId() };
      await expect(operation.record(unknown, { durable: false, answer: {} })).rejects.toThrow();
      expect(underWay()).toEqual(['restore-instance: begun']);
    }
    expect(answers.of('r')).toEqual([]);
  });

  it('goes on when a step cannot be written down', async () => {
    await using operation = begin();
    database.exec('ALTER TABLE journal RENAME TO elsewhere');
    operation.reached('launch');
    operation.release();
    database.exec('ALTER TABLE elsewhere RENAME TO journal');
  });

  it('that removes its instance answers with nothing', async () => {
    await using operation = begin();
    operation.recordGone(before.id);
    expect(store.byId(before.id)).toBeUndefined();
    expect(answers.of('r')).toMatchObject([{ answer: null }]);
  });

  it('that is part of a whole stays in the journal, and is not answered for, until the whole stands', async () => {
    await using whole = begin();
    for (const part of [0, 1]) {
      await using operation = begin(whole);
      await operation.record(after(), { durable: false, before, answer: { part } });
      operation.release();
    }
    expect(underWay()).toHaveLength(3);
    expect(answers.of('r')).toEqual([]);
    whole.stand(new Map([0, 1].map((part) => [part, { part }])));
    expect(underWay()).toEqual([]);
    expect(answers.of('r').map(({ answer }) => answer)).toEqual([{ part: 0 }, { part: 1 }]);
  });

  it('that fails as part of a whole leaves the journal at once', async () => {
    await using whole = begin();
    {
      await using _part = begin(whole);
      expect(underWay()).toHaveLength(2);
    }
    expect(underWay()).toHaveLength(1);
    whole.release();
  });
});
