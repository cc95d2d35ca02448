import { lstat, mkdir, mkdtemp, readFile, readlink, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseImageId } from '../../domain/ids.js';
import { CapturePaths, InstancePaths } from '../../paths.js';
import type { DiskImage } from '../../ports/disk-storage.js';
import { openZfs } from './open-zfs.js';
import { ZfsDouble } from './testing/zfs-double.js';
import type { ZfsDisks } from './zfs-disks.js';

const ROOT = 'pool/offshoot';
const IMAGE = '1'.repeat(64);
const BASE = `${ROOT}/base/${IMAGE}`;
const DOES_NOT_EXIST = 'dataset does not exist';

describe('disks in a ZFS pool', () => {
  let directory: string;
  let devices: string;
  let program: ZfsDouble;
  let disks: ZfsDisks;
  let image: DiskImage;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'zfs-disks-'));
    devices = join(directory, 'devices');
    for (const name of ['devices', 'store', 'instances', 'snapshots']) await mkdir(join(directory, name));
    program = new ZfsDouble(ROOT, devices, join(directory, 'store'));
    image = { id: parseImageId(IMAGE), rootDisk: join(directory, 'image') };
    await writeFile(image.rootDisk, 'image');
    disks = await open();
  });
  afterEach(async () => {
    await rm(directory, { recursive: true });
    expect(program.commands.filter((command) => command.split(' ').includes('-R'))).toEqual([]);
  });

  const open = (stateDirectory = directory): Promise<ZfsDisks> =>
    openZfs({ dataset: ROOT, stateDirectory, program, devices: program.deviceNames, patience: { tries: 3, ms: 0 } });
  async function folder(group: 'instances' | 'snapshots', id: string): Promise<InstancePaths> {
    const paths = new InstancePaths(join(directory, group, id));
    await mkdir(paths.root);
    return paths;
  }
  async function newDisk(id: string): Promise<InstancePaths> {
    const paths = await folder('instances', id);
    await disks.create(image, paths);
    return paths;
  }
  async function newMoment(disk: CapturePaths, id: string): Promise<CapturePaths> {
    const moment = await folder('snapshots', id);
    await disks.snapshot(disk, moment);
    return moment;
  }
  async function newClone(source: CapturePaths, id: string): Promise<InstancePaths> {
    const paths = await folder('instances', id);
    await disks.clone(source, paths);
    return paths;
  }
  const originOf = (name: string): string | undefined => program.datasets.get(`${ROOT}/${name}`)?.origin;
  const present = (): string[] =>
    [...program.datasets.keys(), ...program.snapshots.keys()]
      .filter((name) => /\/(instances|snapshots)\//.test(name))
      .map((name) => name.slice(ROOT.length + 1))
      .sort();

  it('are named by what they are of, and stand on their moments, not these on them', async () => {
    const disk = await newDisk('a');
    expect(originOf('instances/a')).toBe(`${BASE}@base`);
    expect(await readlink(disk.volumeLink)).toBe(join(devices, ROOT, 'instances/a'));
    await newMoment(disk, 's');
    expect(originOf('instances/a')).toBe(`${ROOT}/snapshots/s@base`);
    expect(originOf('snapshots/s')).toBe(`${BASE}@base`);
    await newClone(new CapturePaths(join(directory, 'snapshots/s')), 'b');
    expect(originOf('instances/b')).toBe(`${ROOT}/snapshots/s@base`);
    expect(present()).toEqual(['instances/a', 'instances/b', 'snapshots/s', 'snapshots/s@base']);
  });

  it('have devices without partitions, and moments none: guests write what hosts would read', async () => {
    await newMoment(await newDisk('a'), 's');
    const modeOf = (name: string) => program.datasets.get(name)?.properties.get('volmode');
    expect([BASE, `${ROOT}/instances/a`, `${ROOT}/snapshots/s`].map(modeOf)).toEqual(['dev', 'dev', 'none']);
  });

  describe('stand on bases', () => {
    it('that are filled once, by however many at a time', async () => {
      let fills = 0;
      const fill = program.fill.bind(program);
      program.fill = (...args) => (fills++, fill(...args));
      await Promise.all(['a', 'b', 'c'].map(newDisk));
      await newDisk('d');
      expect(fills).toBe(1);
    });

    it('that are made anew where they were not finished', async () => {
      await program.run(['create', '-s', '-V', '4', BASE]);
      await writeFile(join(devices, BASE), 'half');
      expect(await readFile((await newDisk('a')).disk('raw'), 'latin1')).toMatch(/^image/);
      expect(program.snapshots.has(`${BASE}@base`)).toBe(true);
    });

    it.each(['create', 'snapshot'])('of which nothing is left when they cannot be made: %s fails', async (command) => {
      program.failures.push({ command, words: 'out of space' });
      await expect(newDisk('a')).rejects.toThrow('out of space');
      expect(program.datasets.has(BASE)).toBe(false);
      await disks.create(image, new CapturePaths(join(directory, 'instances/a')));
    });

    it('of which nothing is left when the caller goes while one is filled', async () => {
      const caller = new AbortController();
      program.afterwards = (command) => {
        if (command.startsWith('create -s')) caller.abort(new Error('gone'));
      };
      await expect(disks.create(image, await folder('instances', 'a'), caller.signal)).rejects.toThrow('gone');
      expect(program.datasets.has(BASE)).toBe(false);
    });
  });

  describe('wait for their devices', () => {
    it('which appear when udev has come to it', async () => {
      const device = join(devices, ROOT, 'instances/a');
      program.afterwards = async (command) => {
        if (!command.startsWith('clone')) return;
        await rename(device, `${device}.later`);
        setImmediate(() => void rename(`${device}.later`, device));
      };
      disks = await openZfs({
        dataset: ROOT,
        stateDirectory: directory,
        program,
        devices: program.deviceNames,
        patience: { tries: 500, ms: 1 },
      });
      await newDisk('a');
      expect((await lstat(device)).isFile()).toBe(true);
    });

    it('which may have been those of volumes that went, and are not theirs yet', async () => {
      const device = join(devices, ROOT, 'instances/a');
      program.otherNames.set(device, `${ROOT}/instances/b`);
      await expect(newDisk('a')).rejects.toMatchObject({ reason: 'DISK_DEVICE_MISSING' });
    });

    /** As the kernel has it, beside the names of udev. @returns its path */
    async function node(name: string, volume: string): Promise<string> {
      const path = join(directory, name);
      await rename(join(devices, ROOT, volume), path);
      program.otherNames.set(path, `${ROOT}/${volume}`);
      return path;
    }

    it('and find those that udev has no name for', async () => {
      let path = '';
      program.afterwards = async (command) => {
        if (command.startsWith('clone')) path = await node('zd0', 'instances/a');
      };
      expect(await readlink((await newDisk('a')).disk('raw'))).toBe(path);
    });

    it('and follow them where they have got another number', async () => {
      const disk = await newDisk('a');
      const path = await node('zd16', 'instances/a');
      await expect(disks.flush(disk)).rejects.toThrow('ENOENT');
      await disks.attach(disk);
      expect(await readlink(disk.disk('raw'))).toBe(path);
      await disks.flush(disk);
    });

    it('not longer than they should: the one that is missing is named', async () => {
      program.afterwards = async (command) => {
        if (command.startsWith('clone')) await rm(join(devices, ROOT, 'instances/a'));
      };
      await expect(newDisk('a')).rejects.toMatchObject({
        kind: 'Timeout',
        reason: 'DISK_DEVICE_MISSING',
        metadata: { path: join(devices, ROOT, 'instances/a') },
      });
    });
  });

  it('can be made of a moment after every other one of the same disk has gone', async () => {
    const disk = await newDisk('a');
    const [first, second, third] = [
      await newMoment(disk, 's1'),
      await newMoment(disk, 's2'),
      await newMoment(disk, 's3'),
    ];
    for (const gone of [first, second]) {
      await disks.destroy(gone);
      await newClone(third, `of-${gone.id}`);
    }
    await disks.destroy(disk);
    await newClone(third, 'last');
    expect(present().filter((name) => name.startsWith('snapshots/'))).toEqual(
      expect.arrayContaining(['snapshots/s3', 'snapshots/s3@base']),
    );
  });

  it('whose moments have gone can have moments again', async () => {
    const disk = await newDisk('a');
    const moment = await newMoment(disk, 's1');
    await newClone(moment, 'b');
    await disks.destroy(moment);
    const [next] = [
      await newMoment(disk, 's2'),
      await newMoment(new CapturePaths(join(directory, 'instances/b')), 's3'),
    ];
    await newClone(next, 'c');
  });

  it('are not removed from under what the daemon did not make, and stay as they are', async () => {
    const disk = await newDisk('a');
    const moment = await newMoment(disk, 's');
    await disks.destroy(disk);
    await program.run(['clone', `${ROOT}/snapshots/s@base`, 'pool/by-hand']);
    await expect(disks.destroy(moment)).rejects.toMatchObject({
      kind: 'InvalidState',
      reason: 'DISK_IN_USE',
      metadata: { dependants: 'pool/by-hand' },
    });
    expect(present()).toEqual(['snapshots/s', 'snapshots/s@base']);
    expect((await lstat(moment.volumeLink)).isSymbolicLink()).toBe(true);
    await program.run(['destroy', '-r', 'pool/by-hand']);
    await disks.destroy(moment);
    expect(present()).toEqual([]);
  });

  it('that somebody looks at are removed once he is done', async () => {
    const disk = await newDisk('a');
    const busy = { command: 'destroy -r', words: 'dataset is busy' };
    program.failures.push(busy, busy);
    await disks.destroy(disk);
    expect(present()).toEqual([]);
  });

  it('that are busy when they have just been made are grown when they no longer are', async () => {
    const busy = { command: 'set volsize', words: 'dataset is busy' };
    program.failures.push(busy, busy);
    const preparation = { bytes: 2 * 2 ** 20, change: () => Promise.resolve() };
    await disks.create(image, await folder('instances', 'grown'), undefined, preparation);
    expect(program.failures).toEqual([]);
  });

  it('that stay busy are not removed, and say so', async () => {
    const disk = await newDisk('a');
    for (let i = 0; i < 4; i++) program.failures.push({ command: 'destroy -r', words: 'dataset is busy' });
    await expect(disks.destroy(disk)).rejects.toThrow('dataset is busy');
    expect(present()).toEqual(['instances/a']);
  });

  it('are put in the place of others, again and again, and the others go', async () => {
    const disk = await newDisk('a');
    const moment = await newMoment(disk, 's');
    for (const name of ['a-next', 'a', 'a-next']) {
      await mkdir(disk.next.root);
      await disks.clone(moment, disk.next);
      await rename(disk.next.volumeLink, disk.volumeLink);
      await rename(disk.next.disk('raw'), disk.disk('raw'));
      await rm(disk.next.root, { recursive: true });
      await disks.settle(disk);
      expect(present()).toEqual([`instances/${name}`, 'snapshots/s', 'snapshots/s@base']);
      expect(await readFile(disk.disk('raw'), 'latin1')).toMatch(/^image/);
    }
  });

  it('whose link leads to elsewhere are nobody to touch', async () => {
    for (const target of ['/dev/sda', join(devices, 'pool/other'), join(devices, ROOT), join(devices, ROOT, '../x')]) {
      const paths = await folder('instances', `to-${target.replaceAll('/', '_').slice(-20)}`);
      await symlink(target, paths.volumeLink);
      const before = program.commands.length;
      await expect(disks.destroy(paths)).rejects.toMatchObject({ reason: 'DISK_MALFORMED' });
      await expect(disks.usage(paths)).rejects.toMatchObject({ reason: 'DISK_MALFORMED' });
      await expect(disks.settle(paths)).rejects.toMatchObject({ reason: 'DISK_MALFORMED' });
      expect(program.commands.length).toBe(before);
    }
  });

  describe('that were cut short', () => {
    /** Every command of a call fails in its turn; what is left then goes with the folder, or with the next sweep. */
    it.each(['snapshot', 'clone', 'clone a moment', 'create'] as const)(
      'at any command of %s leave nothing',
      async (call) => {
        const disk = await newDisk('a');
        const moment = await newMoment(disk, 's');
        const before = present();
        const source = call === 'clone a moment' ? moment : disk;
        const attempt = async (paths: CapturePaths): Promise<unknown> =>
          call === 'create'
            ? disks.create(image, paths)
            : call === 'snapshot'
              ? disks.snapshot(source, paths)
              : disks.clone(source, paths);
        for (let nth = 0; ; nth++) {
          const paths = await folder(call === 'snapshot' ? 'snapshots' : 'instances', `x${String(nth)}`);
          let commands = 0;
          program.afterwards = () => {
            if (commands++ === nth) throw new Error('cut');
          };
          const error: unknown = await attempt(paths).catch((thrown: unknown) => thrown);
          program.afterwards = () => undefined;
          await disks.destroy(paths);
          await disks.sweep([disk, moment]);
          expect(present(), String(nth)).toEqual(before);
          if (!(error instanceof Error)) {
            expect(nth).toBeGreaterThan(0);
            break;
          }
          expect(error.message).toBe('cut');
        }
      },
    );

    it('are swept with the snapshots nobody stands on, where their folders are gone', async () => {
      const [kept, lost] = [await newDisk('kept'), await newDisk('lost')];
      const moment = await newMoment(lost, 's');
      await newClone(kept, 'lost-too');
      await program.run(['snapshot', `${ROOT}/instances/kept@base`]);
      expect(await disks.sweep([kept, moment])).toEqual([`${ROOT}/instances/lost`, `${ROOT}/instances/lost-too`]);
      expect(present()).toEqual(['instances/kept', 'snapshots/s', 'snapshots/s@base']);
      await newMoment(kept, 's2');
    });

    it('leave a snapshot of that name, which is no obstacle', async () => {
      const disk = await newDisk('a');
      await program.run(['snapshot', `${ROOT}/instances/a@base`]);
      await program.run(['clone', `${ROOT}/instances/a@base`, `${ROOT}/instances/by-hand`]);
      await newMoment(disk, 's');
      await program.run(['snapshot', `${ROOT}/instances/a@base`]);
      await newMoment(disk, 's2');
      expect(originOf('instances/a')).toBe(`${ROOT}/snapshots/s2@base`);
    });
  });

  describe('are opened', () => {
    it('in a dataset that is there, to the letter', async () => {
      program.failures.push({ command: 'list -H -d 0', words: `cannot open '${ROOT}': ${DOES_NOT_EXIST}` });
      await expect(open()).rejects.toMatchObject({ kind: 'Unsupported', reason: 'ZFS_DATASET_MISSING' });
      const run = program.run.bind(program);
      program.run = async (...args) => (await run(...args)).replace(/^pool\/offshoot$/m, `${ROOT}\npool/offshoot/x`);
      await expect(open()).rejects.toThrow(/it says/);
      program.run = run;
    });

    it('by one daemon alone, whose dataset it then is', async () => {
      await open();
      await expect(open('/another')).rejects.toMatchObject({
        kind: 'InvalidState',
        reason: 'ZFS_DATASET_TAKEN',
        metadata: { dataset: ROOT, owner: directory },
      });
      expect(dirname(BASE)).toBe(`${ROOT}/base`);
    });

    it('without making anything that is there', async () => {
      program.commands.length = 0;
      await open();
      expect(program.commands.filter((command) => !/^(list|get)/.test(command))).toEqual([]);
    });
  });
});
