import { mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseImageId } from '../domain/ids.js';
import { CapturePaths } from '../paths.js';
import { RawDisks } from './raw-disks.js';

describe.each(['reflink', 'sparse'] as const)('raw disks, %s', (name) => {
  const disks = new RawDisks(name);
  let root: string;
  let folder: CapturePaths;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'raw-disks-'));
    folder = new CapturePaths(join(root, 'instance'));
    await mkdir(folder.root);
    const rootDisk = join(root, 'image');
    await writeFile(rootDisk, 'ext4', { mode: 0o444 });
    await disks.create({ id: parseImageId('1'.repeat(64)), rootDisk }, folder);
  });
  afterEach(() => rm(root, { recursive: true }));

  it('have a name that is the same in every folder, and can be written by the daemon alone', async () => {
    expect((await stat(join(folder.root, 'disk.raw'))).mode & 0o777).toBe(0o600);
  });

  it('never need a layer, and cannot have one', async () => {
    expect(await disks.needsLayer()).toBe(false);
    await expect(disks.prepareLayer(folder)).rejects.toThrow(/is a raw one/);
  });
});
