import type Database from 'better-sqlite3';
import type { SnapshotId } from '../domain/ids.js';
import type { Snapshot } from '../domain/snapshot.js';
import type { SnapshotFilter, SnapshotStore } from '../ports/snapshot-store.js';
import { SqliteRecords, bears } from './sqlite-records.js';

/** Snapshots in the daemon's database. */
export class SqliteSnapshotStore implements SnapshotStore {
  private readonly records: SqliteRecords<Snapshot>;

  constructor(database: Database.Database) {
    const reasons = { nameTaken: 'SNAPSHOT_NAME_TAKEN', notFound: 'SNAPSHOT_NOT_FOUND' };
    this.records = new SqliteRecords<Snapshot>(database, { table: 'snapshots', noun: 'snapshot', ...reasons }, {});
  }

  insert(snapshot: Snapshot): void {
    this.records.insert(snapshot);
  }

  update(snapshot: Snapshot): void {
    this.records.update(snapshot);
  }

  delete(id: SnapshotId): void {
    this.records.delete(id);
  }

  byId(id: SnapshotId): Snapshot | undefined {
    return this.records.byId(id);
  }

  assertNameFree(name: string): void {
    this.records.assertNameFree(name);
  }

  resolve(reference: string): Snapshot {
    return this.records.resolve(reference);
  }

  list({ source, image, labels, ...page }: SnapshotFilter = {}): Snapshot[] {
    return this.records.list(
      (snapshot) =>
        (source === undefined || snapshot.sourceId === source) &&
        (image === undefined || snapshot.imageId === image) &&
        bears(snapshot, labels),
      page,
    );
  }
}
