import { closeSync, fstatSync, renameSync, writeSync } from 'node:fs';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { Unreachable, errnoOf, messageOf } from '@offshoot/shared/errors.js';
import type { MachineSpec } from '../../ports/driver.js';
import { ROTATE_AT_BYTES, consoleLog, openLog } from '../vmm-log.js';

/** What of a guest's console concerns those who end or leave a VM. */
export interface GuestConsole {
  /** When the VM has ended, and all its guest said is in the log; or we no longer write. */
  readonly closed: Promise<void>;
  close(): void;
}

/** Of a VM that has ended, whose VMM has not: its serial port is gone. */
const ENDED: GuestConsole = { closed: Promise.resolve(), close: () => undefined };
const GONE = new Set(['ENOENT', 'ECONNREFUSED']);

/**
 * Writes what a guest says on its serial port into its console log, and keeps that from growing without end. Cloud Hypervisor
 * would write it to a file itself, without any limit. It keeps the last MiB while nobody reads, and never waits for a reader.
 */
export class ConsoleLog implements GuestConsole {
  readonly closed: Promise<void>;
  private descriptor: number;
  private bytes: number;

  private constructor(
    private readonly socket: Socket,
    private readonly path: string,
  ) {
    this.descriptor = openLog(path);
    this.bytes = fstatSync(this.descriptor).size;
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        closeSync(this.descriptor);
        resolve();
      });
    });
    socket.on('error', () => undefined); // 'close' follows
    socket.on('data', (chunk) => {
      this.add(chunk);
    });
  }

  /**
   * @param serial socket of the guest's serial port
   * @throws Unreachable `VMM_GONE` for one that cannot be connected to; the signal's reason
   */
  static async of(serial: string, spec: Pick<MachineSpec, 'logDirectory'>, signal: AbortSignal): Promise<GuestConsole> {
    const socket = connect({ path: serial });
    try {
      await once(socket, 'connect', { signal });
      return new ConsoleLog(socket, consoleLog(spec));
    } catch (error) {
      socket.destroy();
      signal.throwIfAborted();
      if (GONE.has(errnoOf(error) ?? '')) return ENDED;
      throw new Unreachable(`the guest's serial port cannot be read: ${messageOf(error)}`, {
        reason: 'VMM_GONE',
        cause: error,
      });
    }
  }

  close(): void {
    this.socket.destroy();
  }

  private add(chunk: Buffer): void {
    try {
      if (this.bytes >= ROTATE_AT_BYTES) this.rotate();
      for (let done = 0; done < chunk.length;) done += writeSync(this.descriptor, chunk, done);
    } catch {
      // A full disk costs the guest's words, not the daemon.
    }
    this.bytes += chunk.length;
  }

  private rotate(): void {
    renameSync(this.path, `${this.path}.1`);
    const next = openLog(this.path);
    closeSync(this.descriptor);
    this.descriptor = next;
    this.bytes = 0;
  }
}
