import { readFile, stat } from 'node:fs/promises';
import { errnoOf, InvalidInput, messageOf } from '@offshoot/shared/errors.js';
import { REQUEST_LIMITS } from '../grpc/contract/request-limits.js';

/** An option that names files, and what it may name. */
interface FileOption {
  readonly flag: string;
  /** All files together, in bytes. */
  readonly limit: number;
  readonly mode: number;
}

interface GuestFile {
  readonly path: string;
  readonly mode: number;
  readonly content: Buffer;
}

const { workload, injection } = REQUEST_LIMITS;
const WORKLOAD: FileOption = { flag: '--file', limit: workload.fileBytes, mode: workload.mode };
const DISK: FileOption = { flag: '--disk-file', limit: injection.filesBytes, mode: injection.mode };

/** As {@link readFiles}. */
export const readWorkloadFiles = (specs: readonly string[]): Promise<GuestFile[]> => readFiles(WORKLOAD, specs);
export const readDiskFiles = (specs: readonly string[]): Promise<GuestFile[]> => readFiles(DISK, specs);

/**
 * Reads the files of `--file HOSTPATH:GUESTPATH`; modes are kept. The sizes are added up before anything is read, so that a
 * disk image given by mistake is refused and not swallowed.
 * @throws InvalidInput naming the file
 */
async function readFiles({ flag, limit, mode: bits }: FileOption, specs: readonly string[]): Promise<GuestFile[]> {
  let total = 0;
  const found: { hostPath: string; path: string; mode: number }[] = [];
  for (const spec of specs) {
    const { hostPath, guestPath } = splitSpec(flag, spec);
    const stats = await stat(hostPath).catch((error: unknown) => {
      throw unreadable(flag, hostPath, error);
    });
    if (!stats.isFile()) throw InvalidInput.field(flag, `${hostPath} is not a file; only files can be sent`);
    total += stats.size;
    if (total > limit)
      throw InvalidInput.field(
        flag,
        `files may be ${String(limit)} bytes (${String(limit / 2 ** 20)} MiB) together; with ${hostPath} (${String(stats.size)} bytes) they are ${String(total)}`,
      );
    found.push({ hostPath, path: guestPath, mode: stats.mode & bits });
  }
  return Promise.all(
    found.map(async ({ hostPath, path, mode }) => ({ path, mode, content: await readOption(flag, hostPath) })),
  );
}

/** A file on this machine. @throws InvalidInput naming the option and the file */
export const readOption = (flag: string, path: string): Promise<Buffer> =>
  readFile(path).catch((error: unknown) => {
    throw unreadable(flag, path, error);
  });

/** At the last `:/`, since a guest path is absolute and a host path may have colons of its own. */
function splitSpec(flag: string, spec: string): { hostPath: string; guestPath: string } {
  const at = spec.lastIndexOf(':/');
  if (at < 1)
    throw InvalidInput.field(
      flag,
      `must be HOSTPATH:GUESTPATH with an absolute path in the guest, got ${JSON.stringify(spec)}`,
    );
  return { hostPath: spec.slice(0, at), guestPath: spec.slice(at + 1) };
}

const unreadable = (flag: string, path: string, error: unknown): InvalidInput =>
  new InvalidInput(`${flag}: cannot read ${path}: ${errnoOf(error) === 'ENOENT' ? 'no such file' : messageOf(error)}`, {
    reason: 'FILE_UNREADABLE',
    cause: error,
  });
