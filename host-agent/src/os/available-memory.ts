import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Corrupt, errnoOf } from '@offshoot/shared/errors.js';

/** Names of one version of the kernel's memory controller (cgroup-v2.rst; cgroup-v1/memory.rst). */
interface Controller {
  /** Where its groups are, below /sys/fs/cgroup. */
  readonly mount: string;
  readonly limit: string;
  readonly usage: string;
  /** Rows of memory.stat with page cache, which the kernel takes back before it refuses. */
  readonly cache: readonly string[];
}

const V2: Controller = {
  mount: '.',
  limit: 'memory.max',
  usage: 'memory.current',
  cache: ['active_file', 'inactive_file'],
};
const V1: Controller = {
  mount: 'memory',
  limit: 'memory.limit_in_bytes',
  usage: 'memory.usage_in_bytes',
  cache: ['total_active_file', 'total_inactive_file'],
};

/**
 * Bytes of memory this process and its children may still come to use: the kernel's own estimate (MemAvailable, which counts
 * page cache it could take back), or less where a control group of this process has a limit.
 * @param root where proc/ and sys/ are, for tests
 */
export function availableMemory(root = '/'): number {
  return Math.min(hostAvailable(root), ...groupsOf(root).map((group) => headroom(group)));
}

function hostAvailable(root: string): number {
  const kib = /^MemAvailable: +(\d+) kB$/m.exec(readFileSync(join(root, 'proc/meminfo'), 'latin1'))?.[1];
  if (kib === undefined) throw new Corrupt('/proc/meminfo has no MemAvailable', { reason: 'PROC_UNREADABLE' });
  return Number(kib) * 1024;
}

interface Group {
  readonly controller: Controller;
  readonly folder: string;
}

/** This process's group and all above it, each of which may have a limit. */
function groupsOf(root: string): Group[] {
  const groups: Group[] = [];
  for (const line of (readIfThere(join(root, 'proc/self/cgroup')) ?? '').split('\n')) {
    const [id, controllers, path] = line.split(':');
    const controller = id === '0' ? V2 : controllers?.split(',').includes('memory') === true ? V1 : undefined;
    if (controller === undefined || path === undefined) continue;
    for (let at = path; ; at = dirname(at)) {
      groups.push({ controller, folder: join(root, 'sys/fs/cgroup', controller.mount, at) });
      if (at === '/' || at === '.') break;
    }
  }
  return groups;
}

/** Bytes the group may still take; infinite without a limit, and where a container does not show the group. */
function headroom({ controller, folder }: Group): number {
  const limit = readIfThere(join(folder, controller.limit))?.trim();
  const usage = readIfThere(join(folder, controller.usage));
  if (limit === undefined || usage === undefined || limit === 'max') return Number.POSITIVE_INFINITY;
  const rows = new Map(
    (readIfThere(join(folder, 'memory.stat')) ?? '').split('\n').map((row) => row.split(' ') as [string, string]),
  );
  const cache = controller.cache.reduce((sum, name) => sum + Number(rows.get(name) ?? 0), 0);
  return Math.max(0, Number(limit) - Number(usage) + cache);
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch (error) {
    // A group can be removed between two looks: ENODEV.
    if (['ENOENT', 'ENOTDIR', 'ENODEV'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}
