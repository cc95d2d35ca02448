import { chmod, chown, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { JailedFile } from './jail-contents.js';
import { LentFiles } from './lent-files.js';
import { prepareJail } from './prepare-jail.js';

const USER = { uid: 64_213, gid: 64_214 };
const why = process.getuid?.() === 0 ? '' : 'root';

describe.skipIf(why !== '')(`what a jail is made of${why && ` (skipped: ${why})`}`, () => {
  let directory: string;
  let installation: { jailer: string; unshare: string; firecracker: string };
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'jail-'));
    const firecracker = join(directory, 'firecracker');
    await writeFile(firecracker, 'x'.repeat(1000));
    installation = { jailer: '/jailer', unshare: '/unshare', firecracker };
  });
  afterEach(() => rm(directory, { recursive: true }));

  const prepare = (...contents: JailedFile[]) => prepareJail(installation, USER, { directory }, contents);
  async function file(name: string, access: JailedFile['access'], mode: number): Promise<JailedFile> {
    const source = join(directory, name);
    await writeFile(source, 'x');
    await chmod(source, mode);
    return { name, source, kind: 'file', access };
  }
  const ownerOf = async (name: string): Promise<number> => (await stat(join(directory, name))).uid;

  it('are files its user can open, and none it need not own', async () => {
    const files = [
      await file('disk', 'write', 0o644),
      await file('memory', 'read', 0o600),
      await file('kernel', 'read', 0o644),
    ];
    const { mtimeNs } = await stat(files[1]!.source, { bigint: true });
    const plan = await prepare(...files);
    expect(plan.files).toEqual(files);
    expect([await ownerOf('disk'), await ownerOf('memory'), await ownerOf('kernel')]).toEqual([USER.uid, USER.uid, 0]);
    const memory = await stat(files[1]!.source, { bigint: true });
    expect(memory.mode & 0o777n).toBe(0o600n);
    // Which captures are told by.
    expect(memory.mtimeNs).toBe(mtimeNs);
  });

  it("lie in a folder that is root's, with room for Firecracker", async () => {
    const plan = await prepare(await file('disk', 'write', 0o600));
    expect(plan.firecrackerBytes).toBe(1000);
    const modes = ['jail', 'jail/root', 'jail/captures', 'jail/mounts'].map(async (name) => {
      const { uid, mode } = await stat(join(directory, name));
      return [uid, mode & 0o777];
    });
    expect(await Promise.all(modes)).toEqual([
      [0, 0o700],
      [0, 0o700],
      [0, 0o711],
      [0, 0o600],
    ]);
    expect(await readFile(plan.mounts, 'utf8')).toContain(`${join(directory, 'disk')} `);
  });

  it('are without what is not there, for the VMM to miss it', async () => {
    const missing: JailedFile = { name: 'disk', source: join(directory, 'gone'), kind: 'file', access: 'write' };
    expect((await prepare(missing)).files).toEqual([]);
  });

  it('are refused when one cannot be given away, saying which', async () => {
    const unalterable: JailedFile = { name: 'disk', source: '/proc/sys/kernel/ostype', kind: 'file', access: 'write' };
    await expect(prepare(unalterable)).rejects.toMatchObject({
      kind: 'InvalidState',
      reason: 'JAIL_FILE_DENIED',
      message: expect.stringMatching(
        /^\/proc\/sys\/kernel\/ostype cannot be given to the jail's user 64213: EPERM/,
      ) as string,
    });
  });

  describe('files that a jailed VMM is to write', () => {
    let files: { stateFile: string; memoryFile: string };
    let folders: { directory: string; runDirectory: string };
    beforeEach(async () => {
      files = { stateFile: join(directory, 'state.tmp'), memoryFile: join(directory, 'memory.next') };
      for (const path of Object.values(files)) await writeFile(path, 'x', { mode: 0o600 });
      folders = { directory, runDirectory: join(directory, 'run') };
      await mkdir(folders.runDirectory);
    });

    it('are lent, under other names, and come back', async () => {
      await prepare();
      await chown(folders.runDirectory, USER.uid, USER.gid);
      const captures = join(directory, 'jail/captures');
      await writeFile(join(captures, 'memory'), 'of a daemon that was killed');
      {
        await using lent = await LentFiles.to(folders, files);
        expect(lent.names).toEqual({ stateFile: 'captures/device-state', memoryFile: 'captures/memory' });
        expect(await ownerOf('memory.next')).toBe(USER.uid);
        await writeFile(join(captures, 'memory'), 'written');
      }
      expect(await readFile(files.memoryFile, 'utf8')).toBe('written');
      expect([await ownerOf('memory.next'), await ownerOf('state.tmp')]).toEqual([0, 0]);
      await expect(stat(join(captures, 'memory'))).rejects.toThrow('ENOENT');
      await expect(stat(join(captures, 'device-state'))).rejects.toThrow('ENOENT');
    });

    it('are written as they are where there is no jail', async () => {
      await using lent = await LentFiles.to(folders, files);
      expect(lent.names).toEqual(files);
      expect(await ownerOf('memory.next')).toBe(0);
    });

    it('come back when only some of them could be lent', async () => {
      await prepare();
      await rm(files.memoryFile);
      await expect(LentFiles.to(folders, files)).rejects.toThrow('ENOENT');
      expect(await ownerOf('state.tmp')).toBe(0);
      await expect(stat(join(directory, 'jail/captures/device-state'))).rejects.toThrow('ENOENT');
    });

    it('must be on the file system of the instance', async () => {
      await prepare();
      const elsewhere = await mkdtemp('/dev/shm/jail-');
      try {
        const memoryFile = join(elsewhere, 'memory');
        await writeFile(memoryFile, 'x');
        await expect(LentFiles.to(folders, { ...files, memoryFile })).rejects.toMatchObject({
          reason: 'JAIL_FILE_DENIED',
          message: expect.stringContaining('must be on the same file system') as string,
        });
        expect((await stat(memoryFile)).uid).toBe(0);
      } finally {
        await rm(elsewhere, { recursive: true });
      }
    });
  });
});
