import { mkdir, mkdtemp, readdir, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { freeBytes } from '../os/disk-space.js';
import { sparseCopy } from '../os/sparse-copy.js';
import { MountLab, missingFor } from '../os/testing/mount-lab.js';
import { countIn } from './debugfs.js';
import { writeExt4 } from './ext4-disk.js';
import { Ext4Preparer } from './ext4-preparer.js';
import { runTool } from './tool.js';

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const preparer = new Ext4Preparer();

let folder: string;
let disk: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ext4-preparer-'));
  disk = join(folder, 'disk');
  const tree = join(folder, 'tree');
  await mkdir(join(tree, 'etc'), { recursive: true });
  await writeFile(join(tree, 'etc/hosts'), '127.0.0.1 localhost\n');
  await writeExt4(tree, disk, { uuid: '6f666673-686f-8f74-8000-000000000001', time: 1_700_000_000, scratch: folder });
});
afterEach(() => rm(folder, { recursive: true }));

const ask = async (command: string): Promise<string> => (await runTool('debugfs', ['-R', command, disk])).stdout;
const blocks = async (): Promise<number> => countIn(await ask('show_super_stats -h'), 'Block count');
const assertClean = (): Promise<unknown> => runTool('e2fsck', ['-f', '-n', disk]);
/** Leaves a transaction in the journal that has block 20000 filled with a byte, as a VM does that was killed. */
async function leaveInJournal(byte: number): Promise<void> {
  const [content, script] = [join(folder, 'block'), join(folder, 'journal')];
  await writeFile(content, Buffer.alloc(4096, byte));
  await writeFile(script, `jo\njw -b 20000 ${content}\njc\n`);
  await runTool('debugfs', ['-w', '-f', script, disk]);
}
const blockAt = async (block: number): Promise<string> => ask(`block_dump ${String(block)}`);

describe('an ext4 disk that has become larger', () => {
  it.each([600 * MIB, 10 * GIB, 512 * GIB])(
    'is filled by its file system, at %d bytes, which stays clean',
    async (bytes) => {
      await truncate(disk, bytes);
      await preparer.prepare(disk, folder, { grow: true, files: [] });
      expect(await blocks()).toBe(bytes / 4096);
      await assertClean();
      expect(await ask('cat /etc/hosts')).toBe('127.0.0.1 localhost');
      // Of what is new only the descriptors of the groups are written: no inode tables.
      expect((await stat(disk)).blocks * 512).toBeLessThan(32 * MIB);
    },
  );

  it('is first as its journal says, where it was in use', async () => {
    await leaveInJournal(0xa5);
    expect(await ask('show_super_stats -h')).toMatch(/^Filesystem features: .*needs_recovery/m);
    await truncate(disk, GIB);
    await preparer.prepare(disk, folder, { grow: true, files: [] });
    expect(await ask('show_super_stats -h')).not.toMatch(/needs_recovery/);
    expect(await blockAt(20_000)).toMatch(/a5a5 a5a5/);
    expect(await blocks()).toBe(GIB / 4096);
  });

  it('has files laid over what its journal says, with room that was not there before', async () => {
    await leaveInJournal(0xa5);
    await truncate(disk, GIB);
    const file = { path: '/etc/hosts', mode: 0o600, uid: 0, gid: 0, content: Buffer.alloc(MIB, 'new') };
    await preparer.prepare(disk, folder, { grow: true, files: [file] });
    expect((await ask('cat /etc/hosts')).length).toBe(MIB);
    expect(await readdir(folder)).not.toContainEqual(expect.stringMatching(/^laying-/));
    expect(await blockAt(20_000)).toMatch(/a5a5 a5a5/);
    await assertClean();
  });

  it('leaves nothing of its own beside the disk, also when files cannot be laid', async () => {
    const before = await readdir(folder);
    const file = { path: '/etc', mode: 0o600, uid: 0, gid: 0, content: Buffer.from('secret') };
    await expect(preparer.prepare(disk, folder, { grow: false, files: [file] })).rejects.toMatchObject({
      reason: 'DISK_PATH_TAKEN',
    });
    expect(await readdir(folder)).toEqual(before);
  });

  it('is refused when it is none', async () => {
    await writeFile(disk, Buffer.alloc(8 * MIB, 1));
    await expect(preparer.prepare(disk, folder, { grow: true, files: [] })).rejects.toMatchObject({
      kind: 'Corrupt',
      reason: 'DISK_INVALID',
    });
  });

  it('is refused when it has errors, and which', async () => {
    await runTool('debugfs', ['-w', '-R', 'set_inode_field /etc block_count 9', disk]);
    await runTool('debugfs', ['-w', '-R', 'set_inode_field /etc mode 0', disk]);
    await expect(preparer.prepare(disk, folder, { grow: true, files: [] })).rejects.toMatchObject({
      reason: 'DISK_INVALID',
      message: expect.stringMatching(/has errors: e2fsck ended with status 4: .*[Ii]node/) as string,
    });
  });

  const lacking = missingFor('tmpfs');
  it.skipIf(lacking !== '')(
    `says so when there is no room for what its journal has${lacking && ` (skipped: ${lacking})`}`,
    async () => {
      await leaveInJournal(0xa5);
      await using mounts = await MountLab.open();
      const { path } = await mounts.mount('tmpfs', 'size=64m');
      const elsewhere = join(path, 'disk');
      await sparseCopy(disk, elsewhere);
      await writeFile(join(path, 'filler'), Buffer.alloc(await freeBytes(path)));
      await expect(preparer.prepare(elsewhere, folder, { grow: false, files: [] })).rejects.toMatchObject({
        kind: 'Capacity',
        reason: 'DISK_FULL',
      });
    },
  );

  it('is left as it is for a caller that has gone', async () => {
    await truncate(disk, GIB);
    const gone = AbortSignal.abort();
    await expect(preparer.prepare(disk, folder, { grow: true, files: [] }, gone)).rejects.toMatchObject({
      kind: 'Aborted',
    });
    expect(await blocks()).toBe((512 * MIB) / 4096);
  });
});
