import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseImageId } from '../domain/ids.js';
import { isLayerName, mintLayerName } from '../domain/layer-name.js';
import { CapturePaths } from '../paths.js';
import { layersOf, prepareLayer, settleDisk } from './disk-layers.js';
import { Qcow2Disks } from './qcow2-disks.js';
import { readQcow2Header } from './qcow2-header.js';

const run = promisify(execFile);
const missing = await run('qemu-io', ['--version']).then(
  () => '',
  () => 'qemu-io',
);
const MIB = 2 ** 20;

describe.skipIf(missing !== '')(`the layers of a disk${missing && ` (skipped: ${missing})`}`, () => {
  let root: string;
  let folder: CapturePaths;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'layers, of "a" disk-'));
    await writeFile(join(root, 'image'), Buffer.alloc(4 * MIB, 0x11));
    folder = await newFolder('source');
    const image = { id: parseImageId('1'.repeat(64)), rootDisk: join(root, 'image') };
    await new Qcow2Disks(false).create(image, folder);
  });
  afterEach(() => rm(root, { recursive: true }));

  async function newFolder(name: string): Promise<CapturePaths> {
    const paths = new CapturePaths(join(root, name));
    await mkdir(paths.root);
    return paths;
  }
  const io = async (disk: string, ...commands: string[]): Promise<void> => {
    const { stdout } = await run('qemu-io', [...commands.flatMap((command) => ['-c', command]), disk]);
    expect(stdout).not.toMatch(/verification failed/i);
  };
  const layers = async (): Promise<string[]> => (await readdir(folder.root)).filter(isLayerName).sort();
  async function lay(): Promise<void> {
    await prepareLayer(folder);
    await settleDisk(folder);
  }

  it('are found from the disk down to the image, and read through by QEMU', async () => {
    await io(folder.disk('qcow2'), 'write -P 0xa1 0 64k');
    await lay();
    await io(folder.disk('qcow2'), 'write -P 0xb2 64k 64k');
    await lay();
    await io(folder.disk('qcow2'), 'write -P 0xc3 128k 64k');
    expect(layersOf(folder)).toHaveLength(2);
    await io(
      folder.disk('qcow2'),
      'read -P 0xa1 0 64k',
      'read -P 0xb2 64k 64k',
      'read -P 0xc3 128k 64k',
      'read -P 0x11 1M 64k',
    );
    await run('qemu-img', ['check', '-q', folder.disk('qcow2')]);
    expect(readQcow2Header(folder.disk('qcow2')).virtualBytes).toBe(4 * MIB);
  });

  it('stand on the image by its path, the one form that every hypervisor follows', async () => {
    expect(readQcow2Header(folder.disk('qcow2')).backing).toBe(join(root, 'image'));
    await run('qemu-img', ['check', '-q', folder.disk('qcow2')]);
  });

  it.each([512, 1, 1024 ** 2, 9 * 1024 ** 2].map((mebibytes) => mebibytes * MIB))(
    'are such as QEMU makes them, for a disk of %i bytes',
    async (bytes) => {
      await rm(folder.disk('qcow2'));
      await run('qemu-img', ['create', '-q', '-f', 'qcow2', folder.disk('qcow2'), String(bytes)]);
      await lay();
      const checked = await run('qemu-img', ['check', '--output=json', folder.disk('qcow2')]);
      expect(JSON.parse(checked.stdout)).toMatchObject({ 'check-errors': 0 });
      const { stdout } = await run('qemu-img', ['info', '--output=json', folder.disk('qcow2')]);
      expect(JSON.parse(stdout)).toMatchObject({
        'virtual-size': bytes,
        'backing-filename-format': 'qcow2',
        'full-backing-filename': folder.layer(layersOf(folder)[0]!),
      });
      expect((await stat(folder.disk('qcow2'))).blocks * 512).toBeLessThan(64 * 1024);
      await io(
        folder.disk('qcow2'),
        `write -P 7 ${String(bytes - 65536)} 64k`,
        `read -P 7 ${String(bytes - 65536)} 64k`,
      );
      await run('qemu-img', ['check', '-q', folder.disk('qcow2')]);
    },
  );

  it('outlive the folders they came from, in whatever order these are removed', async () => {
    const disks = new Qcow2Disks(false);
    await io(folder.disk('qcow2'), 'write -P 0xa1 0 64k');
    await lay();
    await io(folder.disk('qcow2'), 'write -P 0xb2 64k 64k');
    const child = await newFolder('child');
    expect(await disks.clone(folder, child)).toMatchObject({ layers: 1 });
    await io(child.disk('qcow2'), 'write -P 0xc3 0 64k');
    await prepareLayer(child);
    await settleDisk(child);
    const grandchild = await newFolder('grandchild');
    expect(await disks.clone(child, grandchild)).toMatchObject({ layers: 2 });
    await rm(child.root, { recursive: true });
    await io(folder.disk('qcow2'), 'read -P 0xa1 0 64k', 'read -P 0xb2 64k 64k');
    await rm(folder.root, { recursive: true });
    await io(grandchild.disk('qcow2'), 'read -P 0xc3 0 64k', 'read -P 0xb2 64k 64k', 'read -P 0x11 1M 64k');
  });

  it('are needed from 8 MiB of data on, not where the filesystem shares blocks by itself', async () => {
    const disks = new Qcow2Disks(false);
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', folder.disk('qcow2'), '32M']);
    await io(folder.disk('qcow2'), 'write -P 1 0 7M');
    expect(await disks.needsLayer(folder)).toBe(false);
    await io(folder.disk('qcow2'), 'write -P 2 7M 1M');
    expect(await disks.needsLayer(folder)).toBe(true);
    expect(await new Qcow2Disks(true).needsLayer(folder)).toBe(false);
    await lay();
    expect(await disks.needsLayer(folder)).toBe(false);
  });

  it('a clone tells how much it copied', async () => {
    await io(folder.disk('qcow2'), 'write -P 1 0 2M');
    const { copiedBytes, reflinked, ms } = await new Qcow2Disks(false).clone(folder, await newFolder('clone'));
    const { blocks } = await stat(folder.disk('qcow2'));
    // ext4 counts a block of its own for a file in more pieces than its inode has room for.
    expect(copiedBytes).toBeLessThanOrEqual(blocks * 512);
    expect(copiedBytes).toBeGreaterThanOrEqual(reflinked ? 0 : blocks * 512 - 4096);
    expect(ms).toBeGreaterThan(0);
  });

  describe('that were cut short', () => {
    it('are finished where the VMM writes to the new file, and undone where it does not', async () => {
      const first = await prepareLayer(folder);
      await settleDisk(folder, folder.disk('qcow2'));
      expect(await layers()).toEqual([]);
      await expect(stat(first)).rejects.toThrow('ENOENT');
      const second = await prepareLayer(folder);
      await settleDisk(folder, second);
      expect((await stat(folder.disk('qcow2'))).ino).toBe((await stat(second)).ino);
      expect(await layers()).toHaveLength(2);
      await settleDisk(folder, second);
      expect(await layers()).toHaveLength(2);
    });

    it('are finished where no VMM has the disk open: nobody knows whether it had written', async () => {
      await io(folder.disk('qcow2'), 'write -P 0xa1 0 64k');
      const top = await prepareLayer(folder);
      await io(top, 'write -P 0xb2 0 64k');
      await settleDisk(folder);
      await io(folder.disk('qcow2'), 'read -P 0xb2 0 64k');
    });

    it('leave no name behind that the disk does not stand on', async () => {
      await lay();
      await lay();
      await prepareLayer(folder);
      await rm(await prepareLayer(folder));
      await writeFile(`${folder.disk('qcow2')}.tmp`, 'half');
      await settleDisk(folder);
      expect(await layers()).toEqual([...layersOf(folder)].sort());
    });

    it("a disk whose layer is gone is refused, by the layer's name", async () => {
      await lay();
      const [name] = layersOf(folder);
      await rm(folder.layer(name!));
      expect(() => layersOf(folder)).toThrow(`stands on ${name!}, which is missing`);
      await writeFile(folder.disk('qcow2'), 'no disk');
      expect(() => layersOf(folder)).toThrow(/is no qcow2 disk/);
    });
  });

  it('have names that QEMU can name its nodes after', () => {
    expect(mintLayerName().replace('.qcow2', '').length).toBeLessThan(32);
    expect(isLayerName('layer-0123.qcow2.tmp')).toBe(false);
  });
});
