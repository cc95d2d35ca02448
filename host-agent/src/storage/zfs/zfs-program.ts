import { execa } from 'execa';
import { Unsupported, errnoOf } from '@offshoot/shared/errors.js';
import { copyOntoDevice } from '../../os/sparse-copy.js';

/** What ZFS refuses for, by what its program says (zfs_main.c, libzfs_util.c). The first that fits counts. */
const REFUSALS = [
  ['missing', /dataset does not exist|could not find any snapshots to destroy/],
  ['exists', /dataset already exists/],
  ['busy', /(?:dataset|pool or dataset) is busy/],
  ['in use', /has dependent clones|has children/],
  ['full', /out of space|quota exceeded/],
] as const;

export type ZfsRefusal = (typeof REFUSALS)[number][0] | 'other';

/** The program ended with a message. */
export class ZfsFailed extends Error {
  readonly refusal: ZfsRefusal;
  /** As asCapacityIfFull looks for it. */
  readonly code: string | undefined;

  constructor(args: readonly string[], stderr: string) {
    super(`zfs ${args.join(' ')}: ${stderr.trim()}`);
    this.name = 'ZfsFailed';
    this.refusal = REFUSALS.find(([, pattern]) => pattern.test(stderr))?.[0] ?? 'other';
    this.code = this.refusal === 'full' ? 'ENOSPC' : undefined;
  }
}

/** A volume that has its device. */
export interface Volume {
  readonly dataset: string;
  /** The device's path. */
  readonly device: string;
}

/** What root alone may do: a privileged helper can carry it. */
export interface ZfsProgram {
  /** @returns what it printed @throws ZfsFailed */
  run(args: readonly string[], signal?: AbortSignal): Promise<string>;
  /** Writes a file's data onto a volume that holds zeros, through to its medium. On failure some of it is there. */
  fill(file: string, volume: Volume, signal?: AbortSignal): Promise<void>;
}

/** The `zfs` of this machine, run by the daemon itself. */
export class LocalZfs implements ZfsProgram {
  constructor(private readonly program = 'zfs') {}

  async run(args: readonly string[], signal?: AbortSignal): Promise<string> {
    try {
      const { stdout } = await execa(this.program, args, {
        ...(signal === undefined ? {} : { cancelSignal: signal }),
        stdin: 'ignore',
        env: { LC_ALL: 'C' },
      });
      return stdout;
    } catch (error) {
      signal?.throwIfAborted();
      if (errnoOf(error) === 'ENOENT')
        throw new Unsupported(`${this.program} is not installed: install the package zfsutils-linux`, {
          reason: 'PROGRAM_MISSING',
          metadata: { program: this.program },
          cause: error,
        });
      throw error instanceof Error && 'stderr' in error ? new ZfsFailed(args, String(error.stderr)) : error;
    }
  }

  async fill(file: string, { device }: Volume, signal?: AbortSignal): Promise<void> {
    await copyOntoDevice(file, device, signal);
  }
}
