import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type Database from 'better-sqlite3';
import { mintInstanceId, parseImageId } from '../../domain/ids.js';
import type { Instance } from '../../domain/instance.js';
import { StatePaths } from '../../paths.js';
import { InstanceDirectories } from '../instance-directories.js';
import { SnapshotDirectories } from '../snapshot-directories.js';
import { SqliteAnswers } from '../sqlite-answers.js';
import { SqliteInstanceStore } from '../sqlite-instance-store.js';
import { SqliteJournal } from '../sqlite-journal.js';
import { SqliteSnapshotStore } from '../sqlite-snapshot-store.js';
import { StateDirectory } from '../state-directory.js';
import { openStateDatabase } from '../state-database.js';

/** A state directory of its own with everything that is kept in one, for tests of what works with it. */
export class StateLab implements AsyncDisposable {
  readonly store;
  readonly files;
  readonly snapshots;
  readonly snapshotFiles;
  readonly journal;
  readonly answers;

  private constructor(
    private readonly root: string,
    private readonly directory: StateDirectory,
    private readonly database: Database.Database,
  ) {
    this.store = new SqliteInstanceStore(database);
    this.files = new InstanceDirectories(this.paths);
    this.snapshots = new SqliteSnapshotStore(database);
    this.snapshotFiles = new SnapshotDirectories(this.paths);
    this.journal = new SqliteJournal(database);
    this.answers = new SqliteAnswers(database);
  }

  static async open(): Promise<StateLab> {
    const root = await mkdtemp(join(tmpdir(), 'ofs-'));
    const directory = await StateDirectory.open(new StatePaths(join(root, 'state')));
    return new StateLab(root, directory, openStateDatabase(directory.paths.database));
  }

  get paths(): StatePaths {
    return this.directory.paths;
  }

  /** An instance with its row and its folder; there may be one only. */
  async newInstance(change: Partial<Instance> = {}): Promise<Instance> {
    const instance: Instance = {
      id: mintInstanceId(),
      name: 'vm',
      state: 'RUNNING',
      stateReason: '',
      labels: {},
      imageId: parseImageId('ab'.repeat(32)),
      driver: 'firecracker',
      storage: 'sparse',
      vcpus: 1,
      memoryBytes: 2 ** 28,
      network: { slot: 0, mac: '02:4f:0a:d5:00:02', ipv4: '10.213.0.2', prefixLength: 20, gateway: '10.213.0.1' },
      createdAt: '2026-01-01T00:00:00.000Z',
      ...change,
    };
    this.store.insert(instance);
    await this.files.create(instance);
    return instance;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.database.close();
    this.directory[Symbol.dispose]();
    await rm(this.root, { recursive: true });
  }
}
