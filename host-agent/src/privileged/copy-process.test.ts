import { chown, mkdir, open, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execaSync } from 'execa';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { PrivilegedClient } from '../os/privileged-client.js';
import { HelperZfs } from '../storage/zfs/helper-zfs.js';
import { CALLER, HelperLab, ROOT, missingForHelper } from './testing/helper-lab.js';

// Programs are run, on machines that do other things too.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const missing = missingForHelper();
const MIB = 2 ** 20;
const DATASET = `${ROOT}/base/x`;

describe.skipIf(missing !== '')(`the copy of images by root's helper${missing && ` (skipped: ${missing})`}`, () => {
  let lab: HelperLab;
  let images: string;
  let image: string;
  beforeEach(async () => {
    lab = await HelperLab.open();
    images = join(lab.state, 'images');
    await mkdir(images);
    image = await fileOf(CALLER, 'image', 'content');
  });
  afterEach(() => lab[Symbol.asyncDispose]());

  async function fileOf(owner: number, name: string, content: string): Promise<string> {
    const path = join(images, name);
    await writeFile(path, content, { mode: 0o600 });
    await chown(path, owner, owner);
    return path;
  }

  it('fills a volume that its caller may not write to, with the data alone', async () => {
    const file = await open(image, 'r+');
    await file.truncate(16 * MIB);
    await file.write('end', 16 * MIB - 3);
    await file.close();
    const device = await lab.makeVolume(DATASET, 'zd16', '');
    const empty = await open(device, 'r+');
    await empty.truncate(16 * MIB);
    await empty.close();
    expect((await lab.asCaller('cat', device)).exitCode).not.toBe(0);
    expect(await lab.call(['copy', image, DATASET])).toMatchObject({ exitCode: 0, stdout: '', stderr: '' });
    expect((await readFile(device)).equals(await readFile(image))).toBe(true);
    expect((await stat(device)).blocks * 512).toBeLessThan(MIB);
    expect((await lab.logged()).at(-1)).toContain(`carried out ["copy" "${image}" "${DATASET}"]`);
  });

  it('is refused for what is no image of the caller’s, and for what is no volume of the daemon’s', async () => {
    const device = await lab.makeVolume(DATASET, 'zd16', 'as before');
    await lab.makeVolume('tank/other', 'zd32', '');
    const roots = await fileOf(0, 'roots', 'secret');
    await symlink('image', join(images, 'link'));
    await symlink('/etc', join(images, 'folder'));
    execaSync('mkfifo', [join(images, 'fifo')]);
    for (const [source, dataset, why] of [
      [roots, DATASET, /has to be the file of the user 65534, or readable by all/],
      [join(images, 'link'), DATASET, /without symbolic links/],
      [join(images, 'folder/passwd'), DATASET, /without symbolic links/],
      [join(images, 'fifo'), DATASET, /has to be a regular file/],
      [images, DATASET, /strictly below .*images, not/],
      [join(images, 'none'), DATASET, /has to be there/],
      [`${images}/../images/image`, DATASET, /strictly below/],
      ['/etc/passwd', DATASET, /strictly below/],
      [image, 'tank/other', /DATASET has to be strictly below tank\/offshoot/],
      [image, ROOT, /DATASET has to be strictly below tank\/offshoot/],
      [image, device, /DATASET has to be strictly below tank\/offshoot/],
    ] as const) {
      const { exitCode, stderr } = await lab.call(['copy', source, dataset]);
      expect(exitCode, source).toBe(2);
      expect(stderr).toMatch(/^offshoot-privileged: refused: [\x20-\x7e]+$/);
      expect(stderr).toMatch(why);
      expect((await lab.logged()).at(-1)).toMatch(/user 65534 refused \["copy"/);
    }
    expect(await readFile(device, 'utf8')).toBe('as before');
  });

  it('is of images elsewhere where root says so', async () => {
    const elsewhere = join(lab.directory, 'images');
    await mkdir(elsewhere);
    await writeFile(join(elsewhere, 'image'), 'shared', { mode: 0o644 });
    const device = await lab.makeVolume(DATASET, 'zd16', '');
    await lab.configure({
      zfs_dataset: ROOT,
      state_directory: lab.state,
      images_directory: elsewhere,
      log: lab.log,
    });
    expect((await lab.call(['copy', image, DATASET])).exitCode).toBe(2);
    expect((await lab.call(['copy', join(elsewhere, 'image'), DATASET])).exitCode).toBe(0);
    expect(await readFile(device, 'utf8')).toBe('shared');
  });

  describe('for the daemon', () => {
    const fill = (signal?: AbortSignal): Promise<void> =>
      new HelperZfs(new PrivilegedClient(lab.helper, lab.carrier)).fill(
        image,
        { dataset: DATASET, device: '/unused' },
        signal,
      );

    it('is what fills its bases', async () => {
      const device = await lab.makeVolume(DATASET, 'zd16', '');
      await fill();
      expect(await readFile(device, 'utf8')).toBe('content');
      await expect(fill(AbortSignal.abort(new Error('gone')))).rejects.toThrow('gone');
      expect(await lab.logged()).toHaveLength(1);
    });

    it('fails as if it copied itself', async () => {
      await expect(fill()).rejects.toMatchObject({ kind: 'Unreachable', reason: 'DISK_DEVICE_UNUSABLE' });
      const device = await lab.makeVolume(DATASET, 'zd16', '');
      execaSync('rm', [device]);
      execaSync('mknod', [device, 'c', '1', '7']); // /dev/full
      await expect(fill()).rejects.toMatchObject({ kind: 'Capacity', reason: 'DISK_FULL' });
      await chown(image, 0, 0);
      await expect(fill()).rejects.toMatchObject({ kind: 'Unsupported', reason: 'HELPER_REFUSED' });
    });
  });
});
