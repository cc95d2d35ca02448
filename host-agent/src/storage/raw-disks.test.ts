import { chmod, mkdir, mkdtemp, open, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CapturePaths } from '../paths.js';
import { RawDisks } from './raw-disks.js';

const MIB = 2 ** 20;

describe.each(['reflink', 'sparse'] as const)('raw disks, %s', (name) => {
  const disks = new RawDisks(name);
  let root: string;
  let image: string;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'raw-disks-'));
    image = join(root, 'image');
    await using file = await open(image, 'wx');
    await file.truncate(32 * MIB);
    await file.write(Buffer.alloc(MIB, 0x11), 0, MIB, 8 * MIB);
    await chmod(image, 0o444);
  });
  afterEach(() => rm(root, { recursive: true }));

  async function newFolder(folder: string): Promise<CapturePaths> {
    const paths = new CapturePaths(join(root, folder));
    await mkdir(paths.root);
    return paths;
  }

  it("begin with the image's data, under a name that is the same in every folder, and can be written", async () => {
    const folder = await newFolder('instance');
    await disks.create(image, folder);
    const disk = join(folder.root, 'disk.raw');
    expect((await readFile(disk)).equals(await readFile(image))).toBe(true);
    const { mode, blocks } = await stat(disk);
    expect(mode & 0o777).toBe(0o600);
    expect(blocks * 512).toBeLessThan(2 * MIB);
  });

  it('are cloned as they are, and written apart from then on', async () => {
    const [source, fork] = [await newFolder('source'), await newFolder('fork')];
    await disks.create(image, source);
    await writeTo(source, 0xa1);
    const { copiedBytes, reflinked, layers, ms } = await disks.clone(source, fork);
    expect(copiedBytes).toBe(reflinked ? 0 : 2 * MIB);
    expect(layers).toBe(0);
    expect(ms).toBeGreaterThan(0);
    await writeTo(source, 0xb2);
    expect((await readFile(fork.disk('raw')))[16 * MIB]).toBe(0xa1);
    expect((await readFile(fork.disk('raw')))[8 * MIB]).toBe(0x11);
  });

  async function writeTo(folder: CapturePaths, value: number): Promise<void> {
    await using file = await open(folder.disk('raw'), 'r+');
    await file.write(Buffer.alloc(MIB, value), 0, MIB, 16 * MIB);
  }

  it('leave nothing where the source is missing, a disk is there already, or the caller has gone', async () => {
    const [source, fork] = [await newFolder('source'), await newFolder('fork')];
    await expect(disks.clone(source, fork)).rejects.toThrow('ENOENT');
    await expect(disks.create(join(root, 'no-image'), fork)).rejects.toThrow('ENOENT');
    await expect(disks.create(image, fork, AbortSignal.abort(new Error('gone')))).rejects.toThrow('gone');
    await expect(stat(fork.disk('raw'))).rejects.toThrow('ENOENT');
    await disks.create(image, source);
    await writeFile(fork.disk('raw'), 'another');
    await expect(disks.clone(source, fork)).rejects.toThrow('EEXIST');
    expect(await readFile(fork.disk('raw'), 'utf8')).toBe('another');
  });

  it('never need a layer, cannot have one, and are always settled', async () => {
    const folder = await newFolder('instance');
    await disks.create(image, folder);
    await writeTo(folder, 0xa1);
    expect(await disks.needsLayer()).toBe(false);
    await expect(disks.prepareLayer(folder)).rejects.toThrow(/is a raw one/);
    await disks.settle();
  });
});
