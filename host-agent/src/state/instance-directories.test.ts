import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { mintInstanceId, parseImageId } from '../domain/ids.js';
import type { Instance } from '../domain/instance.js';
import { StatePaths, type InstancePaths } from '../paths.js';
import { InstanceDirectories } from './instance-directories.js';

const never = new AbortController().signal;

const instance = (name: string): Instance => ({
  id: mintInstanceId(),
  name,
  state: 'CREATING',
  stateReason: '',
  labels: {},
  imageId: parseImageId('ab'.repeat(32)),
  driver: 'qemu',
  storage: 'overlay',
  vcpus: 1,
  memoryBytes: 2 ** 29,
  network: { slot: 0, mac: '02:4f:0a:d5:00:02', ipv4: '10.213.0.2', prefixLength: 20, gateway: '10.213.0.1' },
  createdAt: '2026-01-01T00:00:00.000Z',
});

describe('the folders of instances', () => {
  let root: string;
  let paths: StatePaths;
  let files: InstanceDirectories;
  let source: Instance;
  let sourcePaths: InstancePaths;
  beforeEach(async () => {
    root = mkdtempSync(join(tmpdir(), 'ofs-'));
    paths = new StatePaths(root);
    mkdirSync(paths.instances);
    files = new InstanceDirectories(paths);
    source = instance('source');
    sourcePaths = paths.instance(source.id);
    await files.create(source);
    const { memory, deviceState, mailboxIndex } = sourcePaths;
    for (const path of [memory, deviceState, sourcePaths.disk('qcow2'), sourcePaths.disk('raw'), mailboxIndex])
      writeFileSync(path, `${path} of the source`);
    writeFileSync(join(sourcePaths.root, 'layer-0123456789abcdef.qcow2'), 'layer');
    writeFileSync(sourcePaths.workload, '{}');
    writeFileSync(sourcePaths.consoleLog, 'console');
    mkdirSync(join(sourcePaths.root, 'notes'));
    writeFileSync(join(sourcePaths.root, 'notes', 'readme'), 'of the operator', { mode: 0o640 });
    mkdirSync(join(sourcePaths.root, 'jail', 'captures'), { recursive: true });
    writeFileSync(join(sourcePaths.root, 'jail', 'captures', 'memory'), 'a link of a capture');
  });
  afterEach(() => {
    rmSync(root, { recursive: true });
  });

  it('of forks begin with all of the source that is neither memory, disk, log, jail nor its own', async () => {
    const fork = instance('fork');
    await files.createFrom(sourcePaths, fork, never);
    const made = paths.instance(fork.id);
    expect(readdirSync(made.root).sort()).toEqual(['instance.json', 'logs', 'notes', 'run', 'workload.json']);
    expect(readdirSync(made.logs)).toEqual([]);
    expect(JSON.parse(readFileSync(made.record, 'utf8'))).toEqual(fork);
    expect(statSync(join(made.root, 'notes', 'readme')).mode & 0o777).toBe(0o640);
  });

  it('of forks get nothing of the source when the caller has gone', async () => {
    const fork = instance('fork');
    const gone = AbortSignal.abort(new Error('gone'));
    await expect(files.createFrom(sourcePaths, fork, gone)).rejects.toThrow('gone');
    expect(readdirSync(paths.instance(fork.id).root).sort()).toEqual(['instance.json', 'logs', 'run']);
  });

  it('lose the jail of a VMM that is gone, and keep that of others', async () => {
    await files.sweep(new Set([source.id]));
    expect(readdirSync(sourcePaths.root)).toContain('jail');
    await files.dropJail(source.id);
    expect(readdirSync(sourcePaths.root)).not.toContain('jail');
    await files.dropJail(source.id);
  });

  it('share the memory by inode', async () => {
    const fork = instance('fork');
    await files.createFrom(sourcePaths, fork, never);
    const made = paths.instance(fork.id);
    await files.shareCapture(sourcePaths, made);
    for (const name of ['memory', 'device-state', 'mailboxes.json'])
      expect(statSync(join(made.root, name)).ino).toBe(statSync(join(sourcePaths.root, name)).ino);
  });

  describe('whose files are replaced', () => {
    const NAMES = ['disk.qcow2', 'memory', 'notes'];
    const replaced = (): void => {
      expect(readdirSync(sourcePaths.root).sort()).toEqual([...NAMES, 'instance.json', 'logs', 'run'].sort());
      expect(readFileSync(sourcePaths.memory, 'utf8')).toBe('next');
      expect(readdirSync(join(sourcePaths.root, 'notes'))).toEqual(['newer']);
      expect(readFileSync(sourcePaths.consoleLog, 'utf8')).toBe('console');
    };
    beforeEach(() => {
      mkdirSync(join(sourcePaths.next.root, 'notes'), { recursive: true });
      for (const name of ['disk.qcow2', 'memory', 'notes/newer'])
        writeFileSync(join(sourcePaths.next.root, name), 'next');
    });

    it('have the next ones and no others of their moment', async () => {
      expect(await files.namesOfNext(source.id)).toEqual(NAMES);
      await files.replaceByNext(source.id, NAMES);
      replaced();
    });

    it.each([0, 1, 2, 3])('get there also when that was cut short after %i of them', async (done) => {
      for (const name of NAMES.slice(0, done)) {
        rmSync(join(sourcePaths.root, name), { recursive: true });
        renameSync(join(sourcePaths.next.root, name), join(sourcePaths.root, name));
      }
      await files.replaceByNext(source.id, NAMES);
      replaced();
      await files.replaceByNext(source.id, NAMES);
      replaced();
    });
  });

  it('lose what was half made when the daemon before was killed', async () => {
    mkdirSync(sourcePaths.next.root);
    writeFileSync(join(sourcePaths.root, '.instance.json.1.tmp'), '');
    mkdirSync(join(sourcePaths.root, '.new-next-1'));
    for (const name of ['.new-x-1', '.trash-y-1']) mkdirSync(join(paths.instances, name));
    mkdirSync(join(paths.captures, 'left'), { recursive: true });
    expect([...(await files.sweep(new Set([source.id])))].sort()).toEqual(['.new-x-1', '.trash-y-1', 'left']);
    expect(readdirSync(paths.instances)).toEqual([source.id]);
    const names = readdirSync(sourcePaths.root);
    expect(names.filter((name) => name.startsWith('.') || name === 'next')).toEqual([]);
    expect(names).toContain('notes');
  });
});
