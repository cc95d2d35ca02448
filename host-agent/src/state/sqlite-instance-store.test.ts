import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AlreadyExists, Corrupt, InvalidInput, NotFound } from '@offshoot/shared/errors.js';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { mintInstanceId, parseImageId } from '../domain/ids.js';
import type { Instance } from '../domain/instance.js';
import { SqliteInstanceStore } from './sqlite-instance-store.js';
import { openStateDatabase } from './state-database.js';

let slots = 0;
function instance(name: string, change: Partial<Instance> = {}): Instance {
  const slot = slots++;
  return {
    id: mintInstanceId(),
    name,
    state: 'RUNNING',
    stateReason: '',
    labels: {},
    imageId: parseImageId('ab'.repeat(32)),
    driver: 'qemu',
    storage: 'overlay',
    vcpus: 1,
    memoryBytes: 512 * 2 ** 20,
    network: { slot, mac: '02:4f:0a:d5:00:02', ipv4: '10.213.0.2', prefixLength: 20, gateway: '10.213.0.1' },
    createdAt: '2026-01-01T00:00:00.000Z',
    ...change,
  };
}

describe('the instance store', () => {
  let directory: string;
  let path: string;
  let database: Database.Database;
  let store: SqliteInstanceStore;
  const open = (): void => {
    database = openStateDatabase(path);
    store = new SqliteInstanceStore(database);
  };
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'offshoot-store-'));
    path = join(directory, 'state.db');
    open();
  });
  afterEach(() => {
    database.close();
    rmSync(directory, { recursive: true });
  });

  it('finds an instance by id, by name and by unambiguous prefix', () => {
    const one = instance('one');
    store.insert(one);
    for (const reference of [one.id, 'one', one.id.slice(0, 25)]) expect(store.resolve(reference)).toEqual(one);
    expect(() => store.resolve(one.id.slice(0, 5))).toThrow(NotFound);
    store.insert(instance('two'));
    // Two ULIDs of one moment share their time, which is the first ten characters.
    expect(() => store.resolve(one.id.slice(0, 6))).toThrow(InvalidInput);
  });

  it('takes a name for a name even where it looks like a prefix', () => {
    const one = instance('one');
    store.insert(one);
    const named = instance(one.id.slice(0, 8));
    store.insert(named);
    expect(store.resolve(one.id.slice(0, 8)).id).toBe(named.id);
  });

  it('does not take wildcards for a prefix', () => {
    store.insert(instance('one'));
    expect(() => store.resolve('______')).toThrow(NotFound);
    expect(() => store.resolve('%%%%%%')).toThrow(NotFound);
  });

  it('refuses a name that is taken, and an address slot that is', () => {
    const one = instance('one');
    store.insert(one);
    expect(() => {
      store.insert(instance('one'));
    }).toThrow(AlreadyExists);
    expect(() => {
      store.insert(instance('two', { network: one.network }));
    }).toThrow(/UNIQUE/);
    expect(store.count()).toBe(1);
  });

  it('lists by state, label and page, in order of creation', () => {
    const all = Array.from({ length: 5 }, (_, i) =>
      instance(`vm-${i}`, { state: i % 2 === 0 ? 'RUNNING' : 'STANDBY', labels: { even: String(i % 2 === 0) } }),
    );
    all.forEach((each) => {
      store.insert(each);
    });
    expect(store.list().map(({ name }) => name)).toEqual(['vm-0', 'vm-1', 'vm-2', 'vm-3', 'vm-4']);
    expect(store.list({ states: ['STANDBY'] }).map(({ name }) => name)).toEqual(['vm-1', 'vm-3']);
    expect(store.list({ labels: { even: 'true' }, limit: 2 }).map(({ name }) => name)).toEqual(['vm-0', 'vm-2']);
    expect(store.list({ after: all[2]!.id }).map(({ name }) => name)).toEqual(['vm-3', 'vm-4']);
    expect(store.count(['RUNNING'])).toBe(3);
    expect(store.usedSlots()).toEqual(new Set(all.map(({ network }) => network.slot)));
  });

  it('keeps everything over a restart', () => {
    const one = instance('one', { labels: { tenant: 'a' } });
    store.insert(one);
    store.update({ ...one, state: 'STANDBY' });
    database.close();
    open();
    expect(store.resolve('one')).toEqual({ ...one, state: 'STANDBY' });
    store.delete(one.id);
    expect(store.byId(one.id)).toBeUndefined();
  });

  it('refuses a database of a newer version', () => {
    const version = database.pragma('user_version', { simple: true }) as number;
    database.pragma('user_version = 99');
    database.close();
    expect(open).toThrow(Corrupt);
    database = new Database(path);
    database.pragma(`user_version = ${String(version)}`);
  });
});
