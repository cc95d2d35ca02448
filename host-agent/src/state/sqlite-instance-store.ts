import type Database from 'better-sqlite3';
import type { InstanceId } from '../domain/ids.js';
import type { Instance } from '../domain/instance.js';
import type { InstanceState } from '../domain/instance-state.js';
import type { InstanceFilter, InstanceStore } from '../ports/instance-store.js';
import { SqliteRecords, bears } from './sqlite-records.js';

/** Instances in the daemon's database. */
export class SqliteInstanceStore implements InstanceStore {
  private readonly records: SqliteRecords<Instance>;
  private readonly countByState: Database.Statement<[], { readonly state: InstanceState; readonly count: number }>;
  private readonly slots: Database.Statement<[], { readonly slot: number }>;

  constructor(database: Database.Database) {
    this.records = new SqliteRecords<Instance>(
      database,
      {
        table: 'instances',
        noun: 'instance',
        nameTaken: 'INSTANCE_NAME_TAKEN',
        notFound: 'INSTANCE_NOT_FOUND',
      },
      { state: ({ state }) => state, slot: ({ network }) => network.slot },
    );
    this.countByState = database.prepare('SELECT state, count(*) AS count FROM instances GROUP BY state');
    this.slots = database.prepare('SELECT slot FROM instances');
  }

  insert(instance: Instance): void {
    this.records.insert(instance);
  }

  update(instance: Instance): void {
    this.records.update(instance);
  }

  delete(id: InstanceId): void {
    this.records.delete(id);
  }

  byId(id: InstanceId): Instance | undefined {
    return this.records.byId(id);
  }

  assertNameFree(name: string): void {
    this.records.assertNameFree(name);
  }

  resolve(reference: string): Instance {
    return this.records.resolve(reference);
  }

  list({ states = [], labels, image, ...page }: InstanceFilter = {}): Instance[] {
    return this.records.list(
      (instance) =>
        (states.length === 0 || states.includes(instance.state)) &&
        (image === undefined || instance.imageId === image) &&
        bears(instance, labels),
      page,
    );
  }

  count(states?: readonly InstanceState[]): number {
    return this.countByState
      .all()
      .filter(({ state }) => states === undefined || states.includes(state))
      .reduce((sum, { count }) => sum + count, 0);
  }

  usedSlots(): ReadonlySet<number> {
    return new Set(this.slots.all().map(({ slot }) => slot));
  }
}
