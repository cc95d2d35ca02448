import { chmod, mkdir, mkdtemp, readFile, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execaSync } from 'execa';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fillVolume, openSource } from './volume-copy.js';
import type { VolumeDevices } from './volume-devices.js';

const DATASET = 'tank/offshoot/base/x';
const me = process.getuid?.() ?? 0;

describe('the copy of a file onto a volume', () => {
  let folder: string;
  let file: string;
  beforeEach(async () => {
    folder = await realpath(await mkdtemp(join(tmpdir(), 'volume-copy-')));
    file = join(folder, 'file');
    await writeFile(file, 'content', { mode: 0o600 });
  });
  afterEach(() => rm(folder, { recursive: true }));

  /** Files for devices, in which one asks by turns. */
  const devices = (...answers: readonly (string | undefined)[]): VolumeDevices => {
    const left = [...answers];
    return { folder, nodes: /^zd[0-9]+$/, volumeOf: () => Promise.resolve(left.shift()) };
  };

  it('is of a file that is the caller’s, or that all may read', async () => {
    await (await openSource(file, me)).close();
    await expect(openSource(file, me + 1)).rejects.toThrow(/has to be the file of the user \d+, or readable by all/);
    await chmod(file, 0o604);
    await (await openSource(file, me + 1)).close();
  });

  it('is of no other file than the path says, whatever it led to before', async () => {
    await mkdir(join(folder, 'a'));
    await writeFile(join(folder, 'a/file'), '');
    await symlink('a', join(folder, 'b'));
    await expect(openSource(join(folder, 'b/file'), me)).rejects.toThrow('is another file by now');
    await symlink('file', join(folder, 'link'));
    await expect(openSource(join(folder, 'link'), me)).rejects.toThrow('no symbolic link');
  });

  it('is of regular files, and waits for none', async () => {
    await expect(openSource(folder, me)).rejects.toThrow('a regular file');
    execaSync('mkfifo', [join(folder, 'fifo')]);
    await expect(openSource(join(folder, 'fifo'), me)).rejects.toThrow('a regular file');
    await expect(openSource(join(folder, 'none'), me)).rejects.toThrow('ENOENT');
  });

  it('goes to the device that the kernel says is the volume’s', async () => {
    for (const node of ['zd0', 'zd16', 'sda']) await writeFile(join(folder, node), Buffer.alloc(8));
    await fillVolume(await openSource(file, me), file, DATASET, devices('tank/offshoot/base/y', DATASET, DATASET));
    const contents = await Promise.all(['zd0', 'zd16', 'sda'].map((node) => readFile(join(folder, node), 'latin1')));
    expect(contents.toSorted()).toEqual(['\0'.repeat(8), '\0'.repeat(8), 'content\0']);
    expect(contents[2]).toBe('\0'.repeat(8));
  });

  it('leaves a device alone that became another volume’s as it was opened', async () => {
    await writeFile(join(folder, 'zd0'), Buffer.alloc(8));
    const source = await openSource(file, me);
    await expect(fillVolume(source, file, DATASET, devices(DATASET, 'tank/other'))).rejects.toMatchObject({
      kind: 'Unreachable',
      reason: 'DISK_DEVICE_UNUSABLE',
    });
    expect(await readFile(join(folder, 'zd0'), 'latin1')).toBe('\0'.repeat(8));
    expect(source.fd).toBe(-1); // closed
  });

  it('says so when the device cannot be written', async () => {
    await mkdir(join(folder, 'zd0'));
    const source = await openSource(file, me);
    await expect(fillVolume(source, file, DATASET, devices(DATASET))).rejects.toThrow(/cannot be written: EISDIR/);
  });
});
