import { InvalidInput, AlreadyExists, NotFound, errnoOf } from '@offshoot/shared/errors.js';
import Database from 'better-sqlite3';
import type { InstanceId } from '../domain/ids.js';
import type { Instance } from '../domain/instance.js';
import type { InstanceState } from '../domain/instance-state.js';
import type { InstanceFilter, InstanceStore } from '../ports/instance-store.js';
import { migrate } from './schema.js';

/** Shortest id prefix that names an instance. */
const MIN_PREFIX = 6;

interface Row {
  readonly record: string;
}

/** Instances in SQLite (WAL, one writer). Columns are what is searched or unique; the record is the whole instance. */
export class SqliteInstanceStore implements InstanceStore {
  private readonly database: Database.Database;
  private readonly statements;

  constructor(path: string) {
    this.database = new Database(path);
    this.database.pragma('journal_mode = WAL');
    // A commit survives the death of any process; only a power cut can lose the last ones, and then the VMs are gone too.
    this.database.pragma('synchronous = NORMAL');
    migrate(this.database);
    const prepare = <Parameters extends unknown[], Result = unknown>(
      sql: string,
    ): Database.Statement<Parameters, Result> => this.database.prepare<Parameters, Result>(sql);
    this.statements = {
      insert: prepare<[string, string, string, number, string]>(
        'INSERT INTO instances (id, name, state, slot, record) VALUES (?, ?, ?, ?, ?)',
      ),
      update: prepare<[string, string, string, string]>(
        'UPDATE instances SET name = ?, state = ?, record = ? WHERE id = ?',
      ),
      delete: prepare<[string]>('DELETE FROM instances WHERE id = ?'),
      byId: prepare<[string], Row>('SELECT record FROM instances WHERE id = ?'),
      byName: prepare<[string], Row>('SELECT record FROM instances WHERE name = ?'),
      byPrefix: prepare<[string, string], Row>('SELECT record FROM instances WHERE id >= ? AND id < ? LIMIT 2'),
      all: prepare<[string], Row>('SELECT record FROM instances WHERE id > ? ORDER BY id'),
      countByState: prepare<[], { state: InstanceState; count: number }>(
        'SELECT state, count(*) AS count FROM instances GROUP BY state',
      ),
      slots: prepare<[], { slot: number }>('SELECT slot FROM instances'),
    };
  }

  insert(instance: Instance): void {
    const { id, name, state, network } = instance;
    try {
      this.statements.insert.run(id, name, state, network.slot, JSON.stringify(instance));
    } catch (error) {
      if (errnoOf(error) !== 'SQLITE_CONSTRAINT_UNIQUE' || this.statements.byName.get(name) === undefined) throw error;
      throw new AlreadyExists(`there is an instance named ${name}: choose another name, or delete that one`, {
        reason: 'INSTANCE_NAME_TAKEN',
        metadata: { name },
        cause: error,
      });
    }
  }

  update(instance: Instance): void {
    const { id, name, state } = instance;
    const { changes } = this.statements.update.run(name, state, JSON.stringify(instance), id);
    if (changes !== 1) throw notFound(id);
  }

  delete(id: InstanceId): void {
    this.statements.delete.run(id);
  }

  byId(id: InstanceId): Instance | undefined {
    return parse(this.statements.byId.get(id));
  }

  hasName(name: string): boolean {
    return this.statements.byName.get(name) !== undefined;
  }

  resolve(reference: string): Instance {
    const exact = parse(this.statements.byId.get(reference) ?? this.statements.byName.get(reference));
    if (exact !== undefined) return exact;
    // The alphabet of ids ends at "z"; "{" is the character after it.
    const matches =
      reference.length < MIN_PREFIX ? [] : this.statements.byPrefix.all(reference, `${reference}{`).filter(Boolean);
    if (matches.length > 1)
      throw InvalidInput.field(
        'instance',
        `${JSON.stringify(reference)} begins more than one id: give more of it`,
        'ID_PREFIX_AMBIGUOUS',
      );
    const match = parse(matches[0]);
    if (match === undefined) throw notFound(reference);
    return match;
  }

  list({ states, labels, after, limit }: InstanceFilter = {}): Instance[] {
    const wanted = Object.entries(labels ?? {});
    const found: Instance[] = [];
    for (const row of this.statements.all.iterate(after ?? '')) {
      const instance = parse(row);
      if (instance === undefined || (states !== undefined && states.length > 0 && !states.includes(instance.state)))
        continue;
      if (!wanted.every(([key, value]) => instance.labels[key] === value)) continue;
      found.push(instance);
      if (found.length === limit) break;
    }
    return found;
  }

  count(states?: readonly InstanceState[]): number {
    return this.statements.countByState
      .all()
      .filter(({ state }) => states === undefined || states.includes(state))
      .reduce((sum, { count }) => sum + count, 0);
  }

  usedSlots(): ReadonlySet<number> {
    return new Set(this.statements.slots.all().map(({ slot }) => slot));
  }

  close(): void {
    this.database.close();
  }
}

// Rows are written by this class alone, from values of the type.
const parse = (row: Row | undefined): Instance | undefined =>
  row === undefined ? undefined : (JSON.parse(row.record) as Instance);

const notFound = (reference: string): NotFound =>
  new NotFound(`no instance has the id or name ${JSON.stringify(reference)}`, {
    reason: 'INSTANCE_NOT_FOUND',
    metadata: { instance: reference },
  });
