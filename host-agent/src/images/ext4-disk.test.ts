import { chown, mkdir, mkdtemp, open, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { diskSizeFor, validateExt4, writeExt4 } from './ext4-disk.js';
import { runProgram, runTool } from './tool.js';

const MIB = 2 ** 20;
const UUID = '6f666673-686f-8f74-8000-000000000001';
const TIME = 1_700_000_000;

let folder: string;
let tree: string;
let disk: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'offshoot-ext4-'));
  tree = join(folder, 'tree');
  disk = join(folder, 'disk');
  await mkdir(join(tree, 'usr/bin'), { recursive: true });
  await writeFile(join(tree, 'usr/bin/a "quoted" name'), 'content', { mode: 0o755 });
  await writeFile(join(tree, 'full'), 'content');
  await writeFile(join(tree, 'empty'), '');
  await symlink('usr/bin', join(tree, 'bin'));
  // Whoever builds is not root, or pretends not to be.
  if (process.getuid?.() === 0) await chown(join(tree, 'full'), 1234, 1234);
});
afterEach(() => rm(folder, { recursive: true }));

const write = (to = disk): Promise<number> => writeExt4(tree, to, { uuid: UUID, time: TIME, scratch: folder });
const ask = async (command: string): Promise<string> => (await runTool('debugfs', ['-R', command, disk])).stdout;

describe('an ext4 disk', () => {
  it('has a size of 1.25 times its content and 128 MiB, at least 512 MiB, in steps of 4 MiB', () => {
    expect(diskSizeFor(0)).toBe(512 * MIB);
    expect(diskSizeFor(400 * MIB)).toBe(628 * MIB);
    expect(diskSizeFor(400 * MIB + 1)).toBe(632 * MIB);
  });

  it('belongs to root throughout, with the times it was given', async () => {
    await write();
    for (const path of ['/', '/full', '/usr/bin', '/lost+found']) {
      const answer = await ask(`stat ${path}`);
      expect(answer).toMatch(/User: +0 +Group: +0 /);
      expect(answer).toMatch(/ctime: 0x6553f100/);
      expect(answer).toMatch(/atime: 0x6553f100/);
      expect(answer).toMatch(/mtime: 0x6553f100/);
    }
    expect(await ask('stat /full')).toMatch(/Mode: +0644/);
  });

  it('takes little more room on the host than its content', async () => {
    const size = await write();
    const { size: apparent, blocks } = await stat(disk);
    expect(apparent).toBe(size);
    expect(blocks * 512).toBeLessThan(32 * MIB);
  });

  it('is the same for the same tree', async () => {
    await write();
    await write(join(folder, 'again'));
    await runProgram('cmp', [disk, join(folder, 'again')]);
  }, 30_000);

  it('is valid when clean and with every required file in it', async () => {
    await write();
    await validateExt4(disk, ['/full'], folder);
  });

  it('is refused when a required file is absent, empty or a folder', async () => {
    await write();
    await expect(validateExt4(disk, ['/full', '/empty', '/usr/bin', '/absent'], folder)).rejects.toMatchObject({
      kind: 'Corrupt',
      metadata: { files: '/empty,/usr/bin,/absent' },
    });
  });

  it('is refused when e2fsck finds errors', async () => {
    await write();
    {
      // Block group descriptors: the block after the superblock's.
      await using file = await open(disk, 'r+');
      await file.write(Buffer.alloc(4096, 0xa5), 0, 4096, 4096);
    }
    await expect(validateExt4(disk, ['/full'], folder)).rejects.toMatchObject({ kind: 'Corrupt' });
  });
});
