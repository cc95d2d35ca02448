import { mkdir, mkdtemp, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { sparseCopy } from '../os/sparse-copy.js';
import type { DiskFile } from '../ports/disk-preparer.js';
import { changeByDebugfs, countIn, inQuotes } from './debugfs.js';
import { formatExt4, writeExt4 } from './ext4-disk.js';
import { layFiles } from './lay-files.js';
import { runProgram, runTool } from './tool.js';

const [UUID, TIME] = ['6f666673-686f-8f74-8000-000000000001', 1_700_000_000];
let image: string;
let pristine: string;
beforeAll(async () => {
  image = await mkdtemp(join(tmpdir(), 'lay-files-image-'));
  pristine = join(image, 'disk');
  const tree = join(image, 'tree');
  for (const name of ['etc', 'usr/bin', 'run', 'tmp', 'var', 'opt/offshoot', 'many'])
    await mkdir(join(tree, name), { recursive: true });
  await writeFile(join(tree, 'etc/hosts'), '127.0.0.1 localhost\n', { mode: 0o755 });
  for (let i = 0; i < 1000; i++) await writeFile(join(tree, `many/file-of-the-image-${String(i)}`), '');
  await symlink('usr/bin', join(tree, 'bin'));
  await symlink('../run', join(tree, 'var/run'));
  await symlink('/opt/offshoot', join(tree, 'agent'));
  await symlink('/nowhere', join(tree, 'dangling'));
  await symlink('hosts', join(tree, 'etc/alias'));
  await writeExt4(tree, pristine, { uuid: UUID, time: TIME, scratch: image });
});
afterAll(() => rm(image, { recursive: true }));

let folder: string;
let scratch: string;
let disk: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lay "files"-'));
  [disk, scratch] = [join(folder, 'disk'), join(folder, 'scratch')];
  await mkdir(scratch);
  await sparseCopy(pristine, disk);
});
afterEach(() => rm(folder, { recursive: true }));

const file = (path: string, change: Partial<DiskFile> = {}): DiskFile => ({
  path,
  mode: 0o600,
  uid: 0,
  gid: 0,
  content: Buffer.from(`content of ${path}`),
  ...change,
});
const lay = (...files: DiskFile[]): Promise<void> => layFiles({ disk, scratch }, files);
const ask = async (command: string): Promise<string> => (await runTool('debugfs', ['-R', command, disk])).stdout;
const freeBlocks = async (): Promise<number> => countIn(await ask('show_super_stats -h'), 'Free blocks');
async function assertClean(): Promise<void> {
  await runTool('e2fsck', ['-f', '-n', disk]);
}
/** Whatever is written changes it. */
const stamp = async (): Promise<bigint> => (await stat(disk, { bigint: true })).mtimeNs;

describe('files laid on a disk', () => {
  it('are there with content, mode and owner, in folders that are made, and the disk is clean', async () => {
    await lay(
      file('/srv/app/deep/config', { mode: 0o755, uid: 1234, gid: 4_294_967_294 }),
      file('/srv/app/other', { content: Buffer.alloc(0) }),
      file('/srv/app/zeros', { content: Buffer.alloc(300_000) }),
      file('/etc/"quoted" name; $(id)', { uid: 70_000 }),
      file('/etc/<12>'),
      file('/etc/-w'),
      file('/etc/grüße 日本'),
      file('/many/one more'),
    );
    await assertClean();
    expect(await ask('cat /srv/app/deep/config')).toBe('content of /srv/app/deep/config');
    expect(await ask('stat /srv/app/deep/config')).toMatch(/Mode: +0755[^]*User: +1234 +Group: +-2 /);
    expect(await ask('stat /srv/app')).toMatch(/Type: directory +Mode: +0755[^]*User: +0 +Group: +0 /);
    expect(await ask('stat /srv/app/zeros')).toMatch(/Size: 300000/);
    expect(await ask('ls -p /etc')).toMatch(/\/100600\/0\/0\/<12>\//);
    expect(await ask('ls -p /etc')).toMatch(/\/100600\/0\/0\/-w\//);
    expect(await ask('ls -p /etc')).toMatch(/\/100600\/0\/0\/grüße 日本\//);
    expect(await ask('cat "/many/one more"')).toBe('content of /many/one more');
    expect(await readdir(scratch)).not.toContainEqual(expect.stringMatching(/^laid-file/));
  });

  it('take the place of what the image has, a link too, and not of what that leads to', async () => {
    const free = await freeBlocks();
    await lay(file('/etc/alias'));
    expect(await ask('cat /etc/hosts')).toBe('127.0.0.1 localhost');
    await lay(file('/etc/hosts'));
    expect(await ask('cat /etc/hosts')).toBe('content of /etc/hosts');
    expect(await ask('cat /etc/alias')).toBe('content of /etc/alias');
    expect(await ask('stat /etc/hosts')).toMatch(/Mode: +0600/);
    await assertClean();
    expect(await freeBlocks()).toBe(free - 1); // of the link alone, which had none
  });

  it('go where links of the image lead', async () => {
    await lay(file('/bin/tool', { mode: 0o755 }));
    expect(await ask('cat /usr/bin/tool')).toBe('content of /bin/tool');
    await assertClean();
  });

  it.each<[string, readonly string[], RegExp]>([
    [
      'below what is mounted over it',
      ['/var/run/secret'],
      /files\[0\]\.path: \/var\/run\/secret leads into \/run, which is mounted over/,
    ],
    ['in a new folder there', ['/etc/ok', '/var/run/a/b/secret'], /files\[1\]\.path: .* leads into \/run/],
    ["in the agent's folder", ['/agent/agent.cjs'], /leads into \/opt\/offshoot, which is the agent's own/],
    ['in a file', ['/etc/hosts/a'], /\/etc\/hosts is no folder/],
    ['in a link that leads nowhere', ['/dangling/a'], /\/dangling is no folder/],
    ['in place of a folder', ['/etc'], /is a folder/],
    ['twice, by a link', ['/bin/a', '/usr/bin/a'], /files\[1\]\.path: \/usr\/bin\/a is the same file as another/],
    ['in a folder that is to be a file', ['/new', '/new/a'], /new would be a file and a folder/],
  ])('are refused %s, and the disk is as it was', async (_, paths, message) => {
    const before = await stamp();
    await expect(lay(...paths.map((path) => file(path)))).rejects.toMatchObject({
      kind: 'InvalidInput',
      reason: 'DISK_PATH_TAKEN',
      message: expect.stringMatching(message) as string,
    });
    expect(await stamp()).toBe(before);
  });

  it('are refused when they do not fit, naming what is free, and the disk is as it was', async () => {
    const large = Array.from({ length: 5 }, (_, i) => file(`/srv/${String(i)}`, { content: Buffer.alloc(2 ** 20, 1) }));
    await runTool('debugfs', ['-w', '-R', `set_super_value free_blocks_count 1000`, disk]);
    const spoilt = await stamp();
    await expect(lay(...large)).rejects.toMatchObject({
      kind: 'InvalidInput',
      reason: 'DISK_FILES_TOO_LARGE',
      message: expect.stringMatching(
        /need 5\d{6} bytes and 6 inodes, the disk has 4096000 and \d+ free.*disk_bytes/,
      ) as string,
    });
    expect(await stamp()).toBe(spoilt);
  });

  it('are missed when debugfs could not write them, though it ends well', async () => {
    const name = 'n'.repeat(256); // one more than ext4 has room for
    await expect(lay(file(`/etc/${name}`))).rejects.toMatchObject({ kind: 'Corrupt', reason: 'DISK_INVALID' });
    expect(await readdir(scratch)).not.toContainEqual(expect.stringMatching(/^laid-file/));
  });

  it.each([
    ['nothing', 'exit 0', /is not there/],
    ['no owner', 'sed "/ uid /d" "$3" > "$3.less"; exec DEBUGFS -w -f "$3.less" "$4"', /has the uid 0 instead of 5/],
    ['another file', 'echo other > "$(dirname "$3")/laid-file-0"; exec DEBUGFS "$@"', /has other content/],
  ])('are read back, and missed where debugfs wrote %s and says nothing', async (_, instead, message) => {
    const { stdout } = await runProgram('sh', ['-c', 'PATH=$PATH:/usr/sbin:/sbin; command -v debugfs']);
    const real = stdout.trim();
    const script = `#!/bin/sh\n[ "$1" = -w ] || exec ${real} "$@"\n${instead.replace('DEBUGFS', real)}\n`;
    await writeFile(join(folder, 'debugfs'), script, { mode: 0o755 });
    const path = process.env.PATH;
    process.env.PATH = `${folder}:${path ?? ''}`;
    try {
      await expect(lay(file('/etc/a', { uid: 5 }))).rejects.toMatchObject({
        kind: 'Corrupt',
        reason: 'DISK_INVALID',
        message: expect.stringMatching(message) as string,
      });
    } finally {
      process.env.PATH = path;
    }
  });

  it('are not laid for a caller that has gone', async () => {
    const before = await stamp();
    await expect(layFiles({ disk, scratch, signal: AbortSignal.abort() }, [file('/etc/a')])).rejects.toMatchObject({
      kind: 'Aborted',
    });
    expect(await stamp()).toBe(before);
  });
});

describe('debugfs', () => {
  it('ends with 0 when a disk is full, which is taken from what it says', async () => {
    const [small, tree, large] = [join(folder, 'small'), join(folder, 'tree'), join(folder, 'large')];
    await mkdir(tree);
    await formatExt4(tree, small, { uuid: UUID, time: TIME, size: 16 * 2 ** 20 });
    await writeFile(large, Buffer.alloc(20 * 2 ** 20, 1));
    const { stderr } = await runTool('debugfs', ['-w', '-R', `write ${inQuotes(large)} large`, small]);
    expect(stderr).toMatch(/Could not allocate block/);
    await expect(changeByDebugfs({ disk: small, scratch }, [`write ${inQuotes(large)} again`])).rejects.toMatchObject({
      kind: 'Corrupt',
      reason: 'DISK_INVALID',
    });
  });
});
