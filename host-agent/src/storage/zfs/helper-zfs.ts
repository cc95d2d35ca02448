import { copyOntoDevice } from '../../os/sparse-copy.js';
import { PrivilegedProgramFailed, type PrivilegedClient } from '../../os/privileged-client.js';
import { ZfsFailed, type ZfsProgram } from './zfs-program.js';

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

  /** The daemon's own doing: udev gives it the devices of its volumes, which its hypervisors have to open, too. */
  async fill(file: string, device: string, signal?: AbortSignal): Promise<void> {
    await copyOntoDevice(file, device, signal);
  }
}
