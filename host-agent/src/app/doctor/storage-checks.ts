import { randomUUID } from 'node:crypto';
import { open, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SparseCopyUnsupported, sparseCopy } from '../../os/sparse-copy.js';
import { freeBytes } from '../../os/disk-space.js';
import { filesystemTypeOf } from '../../os/filesystem-type.js';
import { fail, pass, warn, type Check } from './check.js';

const GIB = 2 ** 30;
/** Less than one small VM's memory: the next boot is refused. */
const LEAST_FREE = GIB;
/** Some VMs' worth. */
const LITTLE_FREE = 10 * GIB;
/** What the file system is asked to share; some share whole blocks only. */
const PROBE_BYTES = 64 * 1024;

/** The directory that everything is kept in. */
export const STORAGE_CHECKS: readonly Check[] = [
  {
    name: 'state-directory',
    run: async ({ paths: { root } }, signal) => {
      const probe = join(root, `.doctor-${randomUUID()}`);
      try {
        await writeFile(probe, Buffer.alloc(PROBE_BYTES, 1), { flag: 'wx' });
        const { reflinked } = await sparseCopy(probe, `${probe}-copy`, signal);
        const type = await typeOf(probe);
        if (reflinked) return pass(`${root} on ${type}, which shares the blocks of copies (reflinks)`);
        return warn(
          `${root} on ${type}, without reflinks: memory of forks that are parked, and disks, are copied by their data`,
          'put the state directory on XFS (reflink=1) or btrfs, where much is forked',
        );
      } catch (error) {
        if (!(error instanceof SparseCopyUnsupported)) throw error;
        return fail(error.message, 'put the state directory on ext4, XFS, btrfs or tmpfs');
      } finally {
        for (const path of [probe, `${probe}-copy`]) await rm(path, { force: true });
      }
    },
  },
  {
    name: 'disk-space',
    run: async ({ paths: { root } }) => {
      const free = await freeBytes(root);
      const detail = `${(free / GIB).toFixed(1)} GiB free in ${root}`;
      const remedy = 'delete instances and snapshots that are not needed, or use a larger disk';
      if (free < LEAST_FREE) return fail(detail, remedy);
      return free < LITTLE_FREE ? warn(detail, remedy) : pass(detail);
    },
  },
];

async function typeOf(path: string): Promise<string> {
  await using file = await open(path, 'r');
  return filesystemTypeOf(file.fd);
}
