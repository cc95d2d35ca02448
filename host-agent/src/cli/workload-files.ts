import { readFile, stat } from 'node:fs/promises';
import type { WorkloadFile } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { errnoOf, InvalidInput, messageOf } from '@offshoot/shared/errors.js';
import { REQUEST_LIMITS } from '../grpc/contract/request-limits.js';

/**
 * Reads the files of `--file HOSTPATH:GUESTPATH`; modes are kept. The sizes are added up before anything is read, so that a
 * disk image given by mistake is refused and not swallowed.
 * @throws InvalidInput naming the file
 */
export async function readWorkloadFiles(specs: readonly string[]): Promise<WorkloadFile[]> {
  const limit = REQUEST_LIMITS.workload.fileBytes;
  let total = 0;
  const found: { hostPath: string; path: string; mode: number }[] = [];
  for (const spec of specs) {
    const { hostPath, guestPath } = splitSpec(spec);
    const stats = await stat(hostPath).catch((error: unknown) => {
      throw unreadable(hostPath, error);
    });
    if (!stats.isFile()) throw InvalidInput.field('--file', `${hostPath} is not a file; only files can be sent`);
    total += stats.size;
    if (total > limit)
      throw InvalidInput.field(
        '--file',
        `files may be ${String(limit)} bytes (1 MiB) together; with ${hostPath} (${String(stats.size)} bytes) they are ${String(total)}`,
      );
    found.push({ hostPath, path: guestPath, mode: stats.mode & REQUEST_LIMITS.workload.mode });
  }
  return Promise.all(
    found.map(async ({ hostPath, path, mode }) => {
      const content = await readFile(hostPath).catch((error: unknown) => {
        throw unreadable(hostPath, error);
      });
      return { path, mode, content };
    }),
  );
}

/** At the last `:/`, since a guest path is absolute and a host path may have colons of its own. */
function splitSpec(spec: string): { hostPath: string; guestPath: string } {
  const at = spec.lastIndexOf(':/');
  if (at < 1)
    throw InvalidInput.field(
      '--file',
      `must be HOSTPATH:GUESTPATH with an absolute path in the guest, got ${JSON.stringify(spec)}`,
    );
  return { hostPath: spec.slice(0, at), guestPath: spec.slice(at + 1) };
}

const unreadable = (path: string, error: unknown): InvalidInput =>
  new InvalidInput(`--file: cannot read ${path}: ${errnoOf(error) === 'ENOENT' ? 'no such file' : messageOf(error)}`, {
    reason: 'FILE_UNREADABLE',
    cause: error,
  });
