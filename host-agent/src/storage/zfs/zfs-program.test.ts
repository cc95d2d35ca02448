import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Capacity } from '@offshoot/shared/errors.js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { asCapacityIfFull } from '../../os/disk-space.js';
import { LocalZfs, ZfsFailed } from './zfs-program.js';

describe('the zfs program', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'zfs-program-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  async function program(script: string): Promise<LocalZfs> {
    const path = join(folder, 'zfs');
    await writeFile(path, `#!/bin/sh\n${script}\n`);
    await chmod(path, 0o755);
    return new LocalZfs(path);
  }

  it('is given its arguments as they are, in the C locale, and gives what it prints', async () => {
    const zfs = await program('printf "%s|" "$LC_ALL" "$@"');
    expect(await zfs.run(['list', "-o x 'y'", '$HOME'])).toBe("C|list|-o x 'y'|$HOME|");
  });

  it.each([
    ['missing', "cannot open 'pool/x': dataset does not exist"],
    ['missing', 'could not find any snapshots to destroy; check snapshot names.'],
    ['exists', "cannot create snapshot 'pool/x@base': dataset already exists"],
    ['busy', "cannot destroy 'pool/x': dataset is busy"],
    [
      'in use',
      "cannot destroy 'pool/x': volume has dependent clones\nuse '-R' to destroy the following datasets:\npool/y",
    ],
    ['full', "cannot create 'pool/x': out of space"],
    ['other', 'permission denied'],
  ])('refuses as it says: %s, %s', async (refusal, words) => {
    const zfs = await program(`cat >&2 <<'END'\n${words}\nEND\nexit 1`);
    const error: unknown = await zfs.run(['destroy', 'pool/x']).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ZfsFailed);
    expect(error).toMatchObject({ refusal, message: `zfs destroy pool/x: ${words}` });
    expect(asCapacityIfFull(error) instanceof Capacity).toBe(refusal === 'full');
  });

  it('that is not installed is named with its package', async () => {
    await expect(new LocalZfs(join(folder, 'no-zfs')).run(['list'])).rejects.toMatchObject({
      kind: 'Unsupported',
      reason: 'PROGRAM_MISSING',
      message: expect.stringContaining('zfsutils-linux') as string,
    });
  });

  it('is ended for a caller that goes', async () => {
    const zfs = await program('exec tail -f /dev/null');
    const caller = new AbortController();
    const running = zfs.run(['list'], caller.signal);
    caller.abort(new Error('gone'));
    await expect(running).rejects.toThrow('gone');
  });

  it('fills a device from a file, and says when there is none', async () => {
    const [file, device] = [join(folder, 'file'), join(folder, 'device')];
    await writeFile(file, 'content');
    await writeFile(device, Buffer.alloc(16));
    await new LocalZfs().fill(file, { dataset: 'pool/x', device });
    expect(await readFile(device, 'latin1')).toBe(`content${'\0'.repeat(9)}`);
    await expect(new LocalZfs().fill(file, { dataset: 'pool/x', device: join(folder, 'none') })).rejects.toThrow(
      'ENOENT',
    );
    await expect(
      new LocalZfs().fill(file, { dataset: 'pool/x', device }, AbortSignal.abort(new Error('gone'))),
    ).rejects.toThrow('gone');
  });
});
