import { Capacity, Corrupt, InvalidState, Unreachable } from '@offshoot/shared/errors.js';
import { PrivilegedProgramFailed, type PrivilegedClient } from '../../os/privileged-client.js';
import { ZfsFailed, type Volume, type ZfsProgram } from './zfs-program.js';

/** The `zfs` of this machine, run by root for a daemon that is not. */
export class HelperZfs implements ZfsProgram {
  constructor(private readonly helper: PrivilegedClient) {}

  /** A command that has begun comes to its end, whatever the signal says meanwhile. */
  async run(args: readonly string[], signal?: AbortSignal): Promise<string> {
    signal?.throwIfAborted();
    try {
      return await this.helper.call(['zfs', ...args]);
    } catch (error) {
      throw error instanceof PrivilegedProgramFailed ? new ZfsFailed(args, error.stderr) : error;
    } finally {
      signal?.throwIfAborted();
    }
  }

  /** As {@link run}: once begun it comes to its end. */
  async fill(file: string, { dataset }: Volume, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    try {
      await this.helper.call(['copy', file, dataset]);
    } catch (error) {
      throw error instanceof PrivilegedProgramFailed ? asOwn(error) : error;
    } finally {
      signal?.throwIfAborted();
    }
  }
}

/** As what the daemon would throw had it copied itself, by the reason. */
const KINDS = {
  DISK_DEVICE_UNUSABLE: Unreachable,
  DISK_FULL: Capacity,
  SPARSE_COPY_UNSUPPORTED: InvalidState,
  FILE_CHANGED: Corrupt,
} as const;

function asOwn(error: PrivilegedProgramFailed): Error {
  const { reason = '', message = '' } = error.failure ?? {};
  const kind = Object.entries(KINDS).find(([name]) => name === reason)?.[1];
  return kind === undefined ? error : new kind(message, { reason, cause: error });
}
