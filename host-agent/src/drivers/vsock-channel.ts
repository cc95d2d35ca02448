import type { Duplex } from 'node:stream';
import { GUEST_CHANNEL_PORT } from '@offshoot/shared/channel/vsock-ports.js';
import { Conflict } from '@offshoot/shared/errors.js';
import { connectVsock } from './hybrid-vsock.js';
import { VsockConnection } from './vsock-connection.js';

/**
 * The byte channel of a guest over its VMM's vsock. A guest is never captured with a connection open: in whoever is made from
 * the capture its kernel would take the first connection of the new VMM, which counts its ports from the start again,
 * for that one, and leave it unanswered. Firecracker would tell the guest that all of them are over, Cloud Hypervisor does not.
 */
export class VsockChannel {
  private connection: VsockConnection | undefined;
  private isDialling = false;
  private mayAsk: Promise<void> = Promise.resolve();
  private letAsk: (() => void) | undefined;

  /** @param isHeld for a VM that stands */
  constructor(
    readonly path: string,
    { isHeld }: { readonly isHeld: boolean },
  ) {
    if (isHeld) this.close();
  }

  get isHeld(): boolean {
    return this.letAsk !== undefined;
  }

  /**
   * Connects. Whether the guest accepts shows later: what is written meanwhile waits, and the connection breaks when it does not.
   * @throws Conflict while another one is open; Unreachable when the VMM is gone
   */
  async dial(signal?: AbortSignal): Promise<Duplex> {
    if (this.isDialling || this.connection?.destroyed === false)
      throw new Conflict("the guest's channel is in use", { reason: 'CHANNEL_IN_USE' });
    this.isDialling = true;
    try {
      const socket = await connectVsock(this.path, GUEST_CHANNEL_PORT, signal);
      this.connection = new VsockConnection(socket, GUEST_CHANNEL_PORT, this.mayAsk);
      return this.connection;
    } finally {
      this.isDialling = false;
    }
  }

  /** Before the VM is paused: hangs up, and lets no other connection reach the guest until {@link release}. */
  async hold(): Promise<void> {
    this.close();
    await this.connection?.hangUp();
  }

  /** The VM runs. */
  release(): void {
    this.letAsk?.();
    this.letAsk = undefined;
  }

  /** The VMM ends, or is left to itself. */
  hangUp(): void {
    this.connection?.destroy();
  }

  private close(): void {
    if (this.isHeld) return;
    this.mayAsk = new Promise((resolve) => (this.letAsk = resolve));
  }
}
