import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MountLab, missingFor } from '../os/testing/mount-lab.js';
import type { Image } from '../ports/image-store.js';
import { Qcow2Disks } from './qcow2-disks.js';
import { RawDisks } from './raw-disks.js';

const BYTES = 12_345 * 4096;
const all = { working: BYTES, kept: BYTES };
const none = { working: 0, kept: 0 };

describe('the room that is asked for before a disk is made', () => {
  let directory: string;
  let image: Image;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'room-'));
    const rootDisk = join(directory, 'rootfs.ext4');
    await writeFile(rootDisk, '');
    image = { rootDisk, diskAllocatedBytes: BYTES } as Partial<Image> as Image;
  });
  afterEach(() => rm(directory, { recursive: true }));

  it("is that of the image's data where they are copied", async () => {
    expect(await new RawDisks('sparse').roomFor(image, directory)).toEqual(all);
    expect(await new RawDisks('reflink').roomFor(image, directory)).toEqual(none);
  });

  it('is theirs on a layer only while the disk is prepared', async () => {
    expect(await new Qcow2Disks(false).roomFor(image, directory, false)).toEqual(none);
    expect(await new Qcow2Disks(false).roomFor(image, directory, true)).toEqual({ working: BYTES, kept: 0 });
    expect(await new Qcow2Disks(true).roomFor(image, directory, true)).toEqual(none);
  });

  const missing = missingFor('tmpfs');
  it.skipIf(missing !== '')(
    `is theirs where images are on another file system, with which nothing is shared${missing && ` (skipped: ${missing})`}`,
    async () => {
      await using mounts = await MountLab.open();
      const { path } = await mounts.mount('tmpfs', 'size=1m');
      expect(await new RawDisks('reflink').roomFor(image, path)).toEqual(all);
      expect(await new Qcow2Disks(true).roomFor(image, path, true)).toEqual({ working: BYTES, kept: 0 });
    },
  );
});
