import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseImageId, type ImageId } from '../../domain/ids.js';
import { InstancePaths } from '../../paths.js';
import { openZfs } from './open-zfs.js';
import { ZfsDouble } from './testing/zfs-double.js';
import type { ZfsDisks } from './zfs-disks.js';

const ROOT = 'pool/offshoot';
const ONE = parseImageId('1'.repeat(64));
const TWO = parseImageId('2'.repeat(64));

describe('what ZFS keeps of images', () => {
  let directory: string;
  let program: ZfsDouble;
  let disks: ZfsDisks;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'zfs-bases-'));
    for (const name of ['devices', 'store', 'instances']) await mkdir(join(directory, name));
    await writeFile(join(directory, 'image'), 'image');
    program = new ZfsDouble(ROOT, join(directory, 'devices'), join(directory, 'store'));
    const patience = { tries: 3, ms: 0 };
    disks = await openZfs({
      dataset: ROOT,
      stateDirectory: directory,
      program,
      devices: program.deviceNames,
      patience,
    });
  });
  afterEach(() => rm(directory, { recursive: true }));

  async function newDisk(image: ImageId, id: string): Promise<InstancePaths> {
    const paths = new InstancePaths(join(directory, 'instances', id));
    await mkdir(paths.root);
    await disks.create({ id: image, rootDisk: join(directory, 'image') }, paths);
    return paths;
  }
  const bases = (): string[] =>
    [...program.datasets.keys()].filter((name) => name.startsWith(`${ROOT}/base/`)).map((name) => name.slice(-1));

  it('goes with the image, and is made anew for the next disk of it', async () => {
    await disks.destroy(await newDisk(ONE, 'a'));
    expect(bases()).toEqual(['1']);
    await disks.forgetImage(ONE);
    await disks.forgetImage(ONE); // missing is success
    expect(bases()).toEqual([]);
    expect([...program.snapshots.keys()]).toEqual([]);
    await newDisk(ONE, 'b');
    expect(bases()).toEqual(['1']);
  });

  it('stays while a disk stands on it, which is named', async () => {
    const disk = await newDisk(ONE, 'a');
    await expect(disks.forgetImage(ONE)).rejects.toMatchObject({
      kind: 'InvalidState',
      reason: 'DISK_IN_USE',
      metadata: { dependants: `${ROOT}/instances/a` },
    });
    expect(bases()).toEqual(['1']);
    await disks.destroy(disk);
    await disks.forgetImage(ONE);
    expect(bases()).toEqual([]);
  });

  it('is not among the disks that lie elsewhere, of which one that is nobody’s can be removed', async () => {
    const { next } = await newDisk(ONE, 'a');
    await mkdir(next.root);
    await disks.create({ id: ONE, rootDisk: join(directory, 'image') }, next);
    const [first, second] = [`${ROOT}/instances/a`, `${ROOT}/instances/a-next`];
    expect(await disks.elsewhere()).toEqual([
      { name: first, owner: 'a' },
      { name: second, owner: 'a' },
    ]);
    for (const name of [first, second, second]) await disks.discard(name); // missing is success
    expect(await disks.elsewhere()).toEqual([]);
    expect(bases()).toEqual(['1']);
  });

  it('goes at the next start where its image has gone, unless a disk stands on it', async () => {
    const disk = await newDisk(ONE, 'a');
    await disks.destroy(await newDisk(TWO, 'b'));
    expect(await disks.sweepImages(new Set([ONE, TWO]))).toEqual([]);
    expect(await disks.sweepImages(new Set())).toEqual([`${ROOT}/base/${TWO}`]);
    expect(bases()).toEqual(['1']);
    await disks.destroy(disk);
    expect(await disks.sweepImages(new Set([TWO]))).toEqual([`${ROOT}/base/${ONE}`]);
    expect(bases()).toEqual([]);
  });
});
