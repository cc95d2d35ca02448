import { mkdir, mkdtemp, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mintInstanceId, parseImageId } from '../domain/ids.js';
import type { Instance } from '../domain/instance.js';
import { writeExt4 } from '../images/ext4-disk.js';
import { Ext4Preparer } from '../images/ext4-preparer.js';
import { asCapacityIfFull, freeBytes } from '../os/disk-space.js';
import { MountLab, missingFor } from '../os/testing/mount-lab.js';
import { StatePaths } from '../paths.js';
import type { DiskFile } from '../ports/disk-preparer.js';
import type { DiskStorage } from '../ports/disk-storage.js';
import type { Image } from '../ports/image-store.js';
import { Qcow2Disks } from '../storage/qcow2-disks.js';
import { RawDisks } from '../storage/raw-disks.js';
import type { Context } from './context.js';
import { DiskStorages } from './disk-storages.js';
import { createOwnDisk, roomForOwnDisk } from './own-disk.js';

const [MIB, GIB] = [2 ** 20, 2 ** 30];
const missing = missingFor('tmpfs');
/** So large that the file system's growth takes more than a step of the tests' room. */
const DISK_BYTES = 128 * GIB;

describe.skipIf(missing !== '')(
  `an instance's own disk, on a file system without room${missing && ` (skipped: ${missing})`}`,
  () => {
    let mounts: MountLab;
    let scratch: string;
    let state: string;
    let image: Image;
    beforeAll(async () => {
      mounts = await MountLab.open();
      scratch = await mkdtemp(join(tmpdir(), 'ofs-'));
      state = join(scratch, 'state'); // a short name, since sockets have their places below
      await symlink((await mounts.mount('tmpfs', 'size=128m')).path, state);
      const [tree, rootDisk] = [join(scratch, 'tree'), join(scratch, 'rootfs.ext4')];
      await mkdir(tree);
      await writeFile(join(tree, 'data'), Buffer.alloc(4 * MIB, 'x'));
      await writeExt4(tree, rootDisk, { uuid: '6f666673-686f-8f74-8000-000000000001', time: 1_700_000_000, scratch });
      const { size, blocks } = await stat(rootDisk);
      const id = parseImageId('ab'.repeat(32));
      image = { id, rootDisk, diskBytes: size, diskAllocatedBytes: blocks * 512 } as Partial<Image> as Image;
    });
    afterAll(async () => {
      await rm(scratch, { recursive: true });
      await mounts[Symbol.asyncDispose]();
    });

    const files: readonly DiskFile[] = ['/a', '/b'].map((path) => {
      return { path, mode: 0o600, uid: 0, gid: 0, content: Buffer.alloc(MIB, path) };
    });

    it.each<[string, DiskStorage]>([
      ['overlay', new Qcow2Disks(false)],
      ['sparse', new RawDisks('sparse')],
    ])(
      'fails for want of room wherever that ends, on %s, with nothing left; and is made where there is what is asked for',
      async (_, storage) => {
        const paths = new StatePaths(state);
        const owner = { id: mintInstanceId(), name: 'vm', storage: storage.name, diskBytes: DISK_BYTES };
        const instance = owner as Partial<Instance> as Instance;
        const folder = paths.instance(owner.id);
        const parts = { disks: new DiskStorages([storage]), diskPreparer: new Ext4Preparer(), paths };
        const context = parts as Partial<Context> as Context;
        /** What becomes of it where so many bytes are free. */
        const makeWith = async (free: number): Promise<unknown> => {
          await mkdir(folder.root, { recursive: true });
          const filler = join(state, 'filler');
          await writeFile(filler, Buffer.alloc((await freeBytes(state)) - free));
          const { signal } = new AbortController();
          const error: unknown = await createOwnDisk(context, instance, image, files, signal).catch(asCapacityIfFull);
          await rm(filler);
          await storage.destroy(folder);
          expect(await readdir(folder.root)).toEqual([]);
          return error;
        };
        const { working } = await roomForOwnDisk(context, image, { ...owner, files });
        expect(await makeWith(working)).toBeUndefined();
        const said = new Set<string>();
        for (let free = 0; free < working; free += MIB / 2) {
          const error = await makeWith(free);
          if (error === undefined) break;
          expect(error, `with ${String(free)} bytes`).toMatchObject({ kind: 'Capacity', reason: 'DISK_FULL' });
          const { message } = error as Error;
          said.add(/ENOSPC|resize2fs|debugfs/.exec(message)?.[0] ?? message);
        }
        expect([...said].sort()).toEqual(['ENOSPC', 'debugfs', 'resize2fs']);
      },
      120_000,
    );
  },
);
