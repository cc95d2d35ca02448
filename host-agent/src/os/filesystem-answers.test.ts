import { randomBytes } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { mkdir, mkdtemp, open, readFile, readdir, rm, statfs, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { copyDirectory } from './directory-copy.js';
import { filesystemTypeOf } from './filesystem-type.js';
import { SparseCopyUnsupported, copyOpenFile, sparseCopy } from './sparse-copy.js';
import { describeOn } from './testing/describe-on.js';

const MIB = 2 ** 20;

describe('what a filesystem answers', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'filesystem-answers-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('is told with its name', async () => {
    await using temporary = await open(folder);
    const { stdout } = await execa('findmnt', ['--noheadings', '--output', 'FSTYPE', '--target', folder]);
    expect(filesystemTypeOf(temporary.fd)).toBe(stdout.trim());
    await using proc = await open('/proc/self');
    expect(filesystemTypeOf(proc.fd)).toBe('proc');
  });

  // The files of PCI devices are regular, have a size, and know SEEK_SET, SEEK_CUR and SEEK_END only (fixed_size_llseek).
  const bus = pciBus();
  describe.skipIf(bus === undefined)(`EINVAL to SEEK_DATA${bus === undefined ? ' (skipped: PCI)' : ''}`, () => {
    it('refuses the copy of a file, with path and type', async () => {
      const path = join(bus!, readdirSync(bus!)[0]!);
      const error: unknown = await sparseCopy(path, join(folder, 'copy')).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(SparseCopyUnsupported);
      expect(error).toMatchObject({
        kind: 'InvalidState',
        reason: 'SPARSE_COPY_UNSUPPORTED',
        metadata: { path, filesystemType: 'proc' },
        cause: { code: 'EINVAL' },
      });
      expect((error as Error).message).toContain('sparse-capable filesystem required');
      expect(await readdir(folder)).toEqual([]);
    });

    it('refuses the copy of a directory, and leaves nothing', async () => {
      const copy = copyDirectory(bus!, join(folder, 'copy'), { durable: false });
      await expect(copy).rejects.toBeInstanceOf(SparseCopyUnsupported);
      expect(await readdir(folder)).toEqual([]);
    });
  });

  describeOn('that holes are data, in ramfs', ['ramfs'], (mounted) => {
    it('is not believed of a file that takes less room than it is long', async () => {
      const path = join(mounted().path, 'sparse');
      await writeFile(path, randomBytes(8192));
      await truncate(path, 256 * MIB);
      await expect(sparseCopy(path, join(folder, 'copy'))).rejects.toMatchObject({
        reason: 'SPARSE_COPY_UNSUPPORTED',
        metadata: { path },
      });
      expect(await readdir(folder)).toEqual([]);
    });

    it('is believed of a file without holes', async () => {
      const path = join(mounted().path, 'dense');
      const data = randomBytes(MIB + 1);
      await writeFile(path, data);
      expect(await sparseCopy(path, join(folder, 'copy'))).toEqual({ reflinked: false, copiedBytes: data.length });
      expect((await readFile(join(folder, 'copy'))).equals(data)).toBe(true);
    });
  });

  it('is believed when all is data although there is less of it, where holes are known: compression does that', async () => {
    const path = join(folder, 'packed');
    const data = randomBytes(MIB);
    await writeFile(path, data);
    await using handle = await open(path);
    // Of the filesystems that count packed blocks (ZFS, F2FS) none can be counted on here: only the number is not real.
    const stats = await handle.stat({ bigint: true });
    stats.blocks /= 4n;
    handle.stat = () => Promise.resolve(stats) as never;
    const copy = join(folder, 'copy');
    const options = { reflink: false, durable: false };
    expect(await copyOpenFile({ handle, path }, copy, options)).toEqual({ reflinked: false, copiedBytes: data.length });
    expect((await readFile(copy)).equals(data)).toBe(true);
  });

  describeOn('EINVAL to FICLONE, in a btrfs directory without checksums', ['btrfs'], (mounted) => {
    it('sends this file and all that follow to the copy of extents', async () => {
      const source = join(mounted().path, 'source');
      await mkdir(source);
      // Only the first is not like the others; the order is that in which they were made.
      await execa('chattr', ['+C', source]);
      await writeSynced(join(source, 'first'));
      await execa('chattr', ['-C', source]);
      await writeSynced(join(source, 'second'));
      expect(readdirSync(source)).toEqual(['first', 'second']);

      const alone = await sparseCopy(join(source, 'second'), join(mounted().path, 'second'));
      expect(alone).toEqual({ reflinked: true, copiedBytes: 0 });
      const cost = await copyDirectory(source, join(mounted().path, 'copy'), { durable: false });
      expect(cost).toEqual({ files: 2, reflinked: false, copiedBytes: 2 * MIB });
      for (const name of ['first', 'second']) {
        const copied = await readFile(join(mounted().path, 'copy', name));
        expect(copied.equals(await readFile(join(source, name)))).toBe(true);
      }
    });
  });

  describeOn('ENOSPC, in a full tmpfs', ['ext4'], (mounted, lab) => {
    it('ends the copy, and everything is as it was', async () => {
      const small = await lab().mount('tmpfs', 'size=4m');
      const source = join(mounted().path, 'source');
      await mkdir(join(source, 'inner'), { recursive: true });
      await writeSynced(join(source, 'inner/one'));
      await writeFile(join(source, 'inner/two'), randomBytes(8 * MIB));
      const before = await statfs(small.path);
      for (const durable of [false, true])
        await expect(copyDirectory(source, join(small.path, 'copy'), { durable })).rejects.toMatchObject({
          code: 'ENOSPC',
        });
      expect(await readdir(small.path)).toEqual([]);
      expect(await statfs(small.path)).toEqual(before);
    });
  });

  describeOn('EIO, in an ext4 whose disk has lost its end', ['ext4', 'tmpfs'], (mounted, lab) => {
    it('ends the copy, and leaves nothing', async () => {
      const broken = mounted(0);
      const source = join(broken.path, 'source');
      await mkdir(source);
      const data = randomBytes(8 * MIB);
      await writeFile(join(source, 'file'), data);
      let begin = -1;
      await lab().remount(broken, () => {
        begin = readFileSync(broken.image).indexOf(data.subarray(0, 4096));
        return Promise.resolve();
      });
      expect(begin).toBeGreaterThan(0);
      await truncate(broken.image, begin + MIB);
      const copy = copyDirectory(source, join(mounted(1).path, 'copy'), { durable: false });
      await expect(copy).rejects.toMatchObject({ code: 'EIO' });
      expect(await readdir(mounted(1).path)).toEqual([]);
    });
  });
});

async function writeSynced(path: string): Promise<void> {
  await using file = await open(path, 'wx');
  await file.writeFile(randomBytes(MIB));
  await file.sync();
}

/** A directory of procfs with a file a PCI device. */
function pciBus(): string | undefined {
  try {
    const [bus] = readdirSync('/proc/bus/pci').filter((name) => /^[0-9a-f]{2}$/.test(name));
    return bus === undefined ? undefined : join('/proc/bus/pci', bus);
  } catch {
    return undefined;
  }
}
