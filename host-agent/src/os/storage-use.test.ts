import { linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { storageUse } from './storage-use.js';

const MIB = 2 ** 20;

describe("what an instance's folder takes on the disk", () => {
  let root: string;
  let folder: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'offshoot-use-'));
    folder = join(root, 'instance');
    mkdirSync(join(folder, 'logs'), { recursive: true });
  });
  afterEach(() => {
    rmSync(root, { recursive: true });
  });
  const write = (name: string, mib: number): void => {
    writeFileSync(join(folder, name), Buffer.alloc(mib * MIB, 1));
  };

  it('is its own where nobody else holds the file, in folders below too', async () => {
    write('disk', 2);
    write('logs/console.log', 1);
    expect(await storageUse(folder)).toEqual({ ownBytes: 3 * MIB, sharedBytes: 0 });
  });

  it('is counted for some names alone, with all that is below them', async () => {
    write('disk', 2);
    write('logs/disk', 1);
    expect(await storageUse(folder, (name) => name === 'disk')).toEqual({ ownBytes: 2 * MIB, sharedBytes: 0 });
    expect(await storageUse(folder, (name) => name !== 'disk')).toEqual({ ownBytes: MIB, sharedBytes: 0 });
  });

  it('is shared as long as another folder holds the file', async () => {
    write('memory', 3);
    linkSync(join(folder, 'memory'), join(root, 'of-a-fork'));
    expect(await storageUse(folder)).toEqual({ ownBytes: 0, sharedBytes: 3 * MIB });
    rmSync(join(root, 'of-a-fork'));
    expect(await storageUse(folder)).toEqual({ ownBytes: 3 * MIB, sharedBytes: 0 });
  });

  it('is counted once under two names in the folder', async () => {
    write('memory', 2);
    linkSync(join(folder, 'memory'), join(folder, 'memory.next'));
    expect(await storageUse(folder)).toEqual({ ownBytes: 2 * MIB, sharedBytes: 0 });
  });

  it('is what is allocated, not the length, and not what a link leads to', async () => {
    write('memory', 1);
    truncateSync(join(folder, 'memory'), 100 * MIB);
    writeFileSync(join(root, 'elsewhere'), Buffer.alloc(5 * MIB, 1));
    symlinkSync(join(root, 'elsewhere'), join(folder, 'link'));
    expect(await storageUse(folder)).toEqual({ ownBytes: MIB, sharedBytes: 0 });
  });

  it('is nothing for a folder that is gone', async () => {
    expect(await storageUse(join(root, 'none'))).toEqual({ ownBytes: 0, sharedBytes: 0 });
  });
});
