import { AlreadyExists, InvalidInput, NotFound, errnoOf } from '@offshoot/shared/errors.js';
import type Database from 'better-sqlite3';

/** Shortest id prefix that names a record. */
const MIN_PREFIX = 6;

interface Row {
  readonly record: string;
}

interface NamedRecord {
  readonly id: string;
  readonly name: string;
}

/** What the records of a table are called in errors. */
export interface RecordKind {
  readonly table: string;
  /** "instance": also the field of a request that names one. */
  readonly noun: string;
  /** Reasons of errors. */
  readonly nameTaken: string;
  readonly notFound: string;
}

/**
 * Named things in one table: `id`, `name`, further columns that are searched or unique, and `record`, which is the whole
 * thing as JSON. Rows are written by this class alone, from values of the type.
 */
export class SqliteRecords<Thing extends NamedRecord> {
  private readonly statements;

  constructor(
    database: Database.Database,
    private readonly kind: RecordKind,
    /** The further columns, from the thing. */
    private readonly columns: Readonly<Record<string, (thing: Thing) => string | number>>,
  ) {
    const { table } = kind;
    const further = Object.keys(columns);
    const prepare = <Parameters extends unknown[]>(sql: string): Database.Statement<Parameters, Row> =>
      database.prepare<Parameters, Row>(sql);
    const all = ['id', 'name', ...further, 'record'];
    this.statements = {
      insert: prepare<unknown[]>(
        `INSERT INTO ${table} (${all.join(', ')}) VALUES (${all.map((column) => `@${column}`).join(', ')})`,
      ),
      update: prepare<unknown[]>(
        `UPDATE ${table} SET ${all.map((column) => `${column} = @${column}`).join(', ')} WHERE id = @id`,
      ),
      delete: prepare<[string]>(`DELETE FROM ${table} WHERE id = ?`),
      byId: prepare<[string]>(`SELECT record FROM ${table} WHERE id = ?`),
      byName: prepare<[string]>(`SELECT record FROM ${table} WHERE name = ?`),
      byPrefix: prepare<[string, string]>(`SELECT record FROM ${table} WHERE id >= ? AND id < ? LIMIT 2`),
      all: prepare<[string]>(`SELECT record FROM ${table} WHERE id > ? ORDER BY id`),
    };
  }

  /** @throws AlreadyExists when the name is taken */
  insert(thing: Thing): void {
    try {
      this.statements.insert.run(this.row(thing));
    } catch (error) {
      if (errnoOf(error) === 'SQLITE_CONSTRAINT_UNIQUE') this.assertNameFree(thing.name, error);
      throw error;
    }
  }

  /** @throws AlreadyExists */
  assertNameFree(name: string, cause?: unknown): void {
    if (this.statements.byName.get(name) === undefined) return;
    const { noun, nameTaken } = this.kind;
    throw new AlreadyExists(
      `there is ${article(noun)} ${noun} named ${name}: choose another name, or delete that one`,
      {
        reason: nameTaken,
        metadata: { name },
        cause,
      },
    );
  }

  /** Replaces the row with the same id. */
  update(thing: Thing): void {
    const { changes } = this.statements.update.run(this.row(thing));
    if (changes !== 1) throw this.notFound(thing.id);
  }

  delete(id: Thing['id']): void {
    this.statements.delete.run(id);
  }

  byId(id: Thing['id']): Thing | undefined {
    return this.parse(this.statements.byId.get(id));
  }

  /** By id, then name, then unambiguous id prefix of at least 6 characters. @throws NotFound, or InvalidInput for an ambiguous prefix */
  resolve(reference: string): Thing {
    const exact = this.parse(this.statements.byId.get(reference) ?? this.statements.byName.get(reference));
    if (exact !== undefined) return exact;
    // The alphabet of ids ends at "z"; "{" is the character after it.
    const matches = reference.length < MIN_PREFIX ? [] : this.statements.byPrefix.all(reference, `${reference}{`);
    if (matches.length > 1)
      throw InvalidInput.field(
        this.kind.noun,
        `${JSON.stringify(reference)} begins more than one id: give more of it`,
        'ID_PREFIX_AMBIGUOUS',
      );
    const match = this.parse(matches[0]);
    if (match === undefined) throw this.notFound(reference);
    return match;
  }

  /** In order of creation. @param after only ids after this one */
  list(
    wanted: (thing: Thing) => boolean,
    { after = '', limit = Infinity }: { after?: string; limit?: number } = {},
  ): Thing[] {
    const found: Thing[] = [];
    for (const row of this.statements.all.iterate(after)) {
      if (found.length >= limit) break;
      const thing = this.parse(row);
      if (thing !== undefined && wanted(thing)) found.push(thing);
    }
    return found;
  }

  private parse(row: Row | undefined): Thing | undefined {
    return row === undefined ? undefined : (JSON.parse(row.record) as Thing);
  }

  private row(thing: Thing): Record<string, string | number> {
    const { id, name } = thing;
    const further = Object.entries(this.columns).map(([column, of]) => [column, of(thing)] as const);
    return { id, name, ...Object.fromEntries(further), record: JSON.stringify(thing) };
  }

  private notFound(reference: string): NotFound {
    const { noun, notFound } = this.kind;
    return new NotFound(`no ${noun} has the id or name ${JSON.stringify(reference)}`, {
      reason: notFound,
      metadata: { [noun]: reference },
    });
  }
}

const article = (noun: string): string => (/^[aeiou]/.test(noun) ? 'an' : 'a');

/** Whether a thing bears all of these labels. */
export const bears = (
  { labels }: { readonly labels: Readonly<Record<string, string>> },
  wanted: Readonly<Record<string, string>> = {},
): boolean => Object.entries(wanted).every(([key, value]) => labels[key] === value);
