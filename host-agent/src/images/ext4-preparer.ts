import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Corrupt } from '@offshoot/shared/errors.js';
import type { DiskOrder, DiskPreparer } from '../ports/disk-preparer.js';
import { layFiles } from './lay-files.js';
import { ToolFailure, runTool } from './tool.js';

/** e2fsck(8): errors were corrected; replaying a journal is none. */
const CORRECTED = 1;

/**
 * Changes ext4 root disks with e2fsprogs, as they lie in a file or on a device: one way for all hypervisors and storages, which
 * needs no rights, and costs neither a boot nor a fork anything. A further disk with the files would be one in each fork, too,
 * and something for the guest to copy; so would files in the initial RAM disk, and those would be in memory as well.
 */
export class Ext4Preparer implements DiskPreparer {
  async prepare(raw: string, scratch: string, order: DiskOrder, signal?: AbortSignal): Promise<void> {
    await replayJournal(raw, order.grow, signal);
    if (order.grow) await growExt4(raw, signal);
    if (order.files.length === 0) return;
    const folder = await mkdtemp(join(scratch, 'laying-')); // of mode 0700: secrets pass through it
    try {
      await layFiles({ disk: raw, scratch: folder, signal }, order.files);
    } finally {
      await rm(folder, { recursive: true });
    }
  }
}

/**
 * What a file system that was in use has in its journal alone would be written over what is changed here.
 * @param whole look at all of it, which resize2fs wants of one that was mounted since it last was
 */
async function replayJournal(raw: string, whole: boolean, signal?: AbortSignal): Promise<void> {
  try {
    await runTool('e2fsck', [...(whole ? ['-f'] : []), '-p', raw], { signal });
  } catch (error) {
    if (!(error instanceof ToolFailure)) throw error;
    if (error.exitCode === CORRECTED) return;
    throw new Corrupt(`the image's disk has errors: ${error.message}`, { reason: 'DISK_INVALID', cause: error });
  }
}

/**
 * Makes the file system as large as what it lies in. The inode tables of the new part stay the holes they are: written as zeros
 * they would be a 64th of it. The guest's kernel, too, is told to leave them (`noinit_itable` in the image's fstab).
 */
async function growExt4(raw: string, signal?: AbortSignal): Promise<void> {
  await runTool('resize2fs', [raw], { env: { RESIZE2FS_FORCE_LAZY_ITABLE_INIT: '1' }, signal });
}
