import { mkdir, mkdtemp, readdir, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa, execaSync } from 'execa';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseImageId } from '../domain/ids.js';
import { isLayerName } from '../domain/layer-name.js';
import { CapturePaths } from '../paths.js';
import { changeBacking, layersOf, prepareLayer, settleDisk } from './disk-layers.js';
import { NewestLayers } from './layer-merge.js';
import { MOST_LAYERS } from './layer-policy.js';
import { Qcow2Disks } from './qcow2-disks.js';

const missing = execaSync('qemu-io', ['--version'], { reject: false }).failed ? 'qemu-io' : '';
const MIB = 2 ** 20;
const never = (): Promise<void> => Promise.resolve();

describe.skipIf(missing !== '')(`the newest layers of a disk${missing && ` (skipped: ${missing})`}`, () => {
  let root: string;
  let folder: CapturePaths;
  /** Commands of qemu-io that find everything that was written. */
  let reads: string[];
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'newest-'));
    await writeFile(join(root, 'image'), Buffer.alloc(4 * MIB, 0x11));
    await truncate(join(root, 'image'), 64 * MIB);
    folder = new CapturePaths(join(root, 'source'));
    await mkdir(folder.root);
    await new Qcow2Disks(false).create({ id: parseImageId('1'.repeat(64)), rootDisk: join(root, 'image') }, folder);
    reads = ['read -P 0x11 3M 1M'];
    while (layersOf(folder).length < MOST_LAYERS) await lay();
  });
  afterEach(() => rm(root, { recursive: true }));

  const io = async (disk: string, ...commands: string[]): Promise<void> => {
    const { stdout } = await execa('qemu-io', [...commands.flatMap((command) => ['-c', command]), disk]);
    expect(stdout).not.toMatch(/verification failed/i);
  };
  async function lay(bytes = 64 * 1024): Promise<void> {
    const at = `-P ${String(reads.length)} ${String(64 * 1024 * reads.length)} ${String(bytes)}`;
    await io(folder.disk('qcow2'), `write ${at}`);
    reads.push(`read ${at.replace(/\d+$/, '65536')}`);
    await prepareLayer(folder);
    await settleDisk(folder);
  }
  const files = async (): Promise<string[]> => (await readdir(folder.root)).sort();
  const begin = async (): Promise<NewestLayers> => (await NewestLayers.begin(folder, never))!;

  it('stay several until there are too many', async () => {
    expect(await NewestLayers.begin(folder, never)).toBeUndefined();
    await lay();
    await using merge = await begin();
    expect(merge.progress()).toBe('whole');
  });

  it('are merged beside the disk, which has them when it is told so', async () => {
    await lay();
    const before = await files();
    await using merge = await begin();
    await settleDisk(folder); // as each capture does it
    expect((await files()).filter((name) => !name.endsWith('.tmp'))).toEqual(before);
    await changeBacking(folder, await merge.publish());
    await settleDisk(folder);
    expect(layersOf(folder)).toHaveLength(1);
    expect(await files()).toEqual(['disk.qcow2', ...layersOf(folder)]);
    await io(folder.disk('qcow2'), ...reads);
    await execa('qemu-img', ['check', '-q', folder.disk('qcow2')]);
  });

  it('leave an old, large one below them as it is', async () => {
    const [oldest] = layersOf(folder).slice(-1);
    await io(folder.layer(oldest!), 'write -P 0x22 16M 32M');
    await lay();
    await using merge = await begin();
    await changeBacking(folder, await merge.publish());
    expect(layersOf(folder).slice(1)).toEqual([oldest]);
    await io(folder.disk('qcow2'), ...reads, 'read -P 0x22 16M 32M');
  });

  it('take those along that were laid meanwhile', async () => {
    await lay();
    await using merge = await begin();
    await lay();
    await lay();
    expect(merge.progress()).toBe('behind');
    await merge.catchUp();
    await merge.catchUp(); // nothing more to do
    expect(merge.progress()).toBe('whole');
    await changeBacking(folder, await merge.publish());
    await settleDisk(folder);
    expect(layersOf(folder)).toHaveLength(2);
    await io(folder.disk('qcow2'), ...reads);
  });

  it('are nobody any more where the disk is another one, and leave nothing', async () => {
    await lay();
    const merge = await begin();
    await changeBacking(folder, join(root, 'image'));
    expect(merge.progress()).toBe('void');
    await merge[Symbol.asyncDispose]();
    await settleDisk(folder);
    expect(await files()).toEqual(['disk.qcow2']);
  });

  it('are gone with a daemon that had given them their names and no more', async () => {
    await lay();
    const before = layersOf(folder);
    const published = await (await begin()).publish();
    await stat(published);
    await settleDisk(folder);
    expect(layersOf(folder)).toEqual(before);
    expect((await files()).filter(isLayerName)).toEqual([...before].sort());
    await io(folder.disk('qcow2'), ...reads);
  });

  it('leave nothing when they cannot be made to the end', async () => {
    await lay();
    const before = await files();
    let turns = 0;
    const give = (): Promise<void> => (turns++ < 5 ? Promise.resolve() : Promise.reject(new Error('gone')));
    await expect(NewestLayers.begin(folder, give)).rejects.toThrow('gone');
    expect(await files()).toEqual(before);
  });
});
