import { chmod, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { zvolNameOf } from './zvol-name.js';

describe('the volume a device is', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'zvol-name-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('is none where nothing is there, or a link leads nowhere', async () => {
    const path = join(folder, 'volume');
    expect(await zvolNameOf(path)).toBeUndefined();
    await symlink(join(folder, 'zd16'), path);
    expect(await zvolNameOf(path)).toBeUndefined();
  });

  it('is none as long as it is another user’s', async () => {
    const path = join(folder, 'device');
    await writeFile(path, '', { mode: 0 });
    await chmod(folder, 0o755);
    const isRoot = process.geteuid?.() === 0;
    if (isRoot) process.seteuid?.(65_534);
    try {
      expect(await zvolNameOf(path)).toBeUndefined();
    } finally {
      if (isRoot) process.seteuid?.(0);
    }
  });

  it('cannot be told of what is none', async () => {
    const path = join(folder, 'file');
    await writeFile(path, '');
    await expect(zvolNameOf(path)).rejects.toThrow('ENOTTY');
  });
});
