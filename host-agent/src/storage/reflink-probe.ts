import { randomUUID } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sparseCopy } from '../os/sparse-copy.js';

/** What the filesystem is asked to share; some share whole blocks only. */
const PROBE_BYTES = 64 * 1024;

/** Whether files in this directory can be reflinked, found out by trying. */
export async function canReflink(directory: string): Promise<boolean> {
  const probe = join(directory, `.reflink-probe-${randomUUID()}`);
  try {
    await writeFile(probe, Buffer.alloc(PROBE_BYTES, 1), { flag: 'wx' });
    return (await sparseCopy(probe, `${probe}-copy`)).reflinked;
  } finally {
    for (const path of [probe, `${probe}-copy`]) await rm(path, { force: true });
  }
}
