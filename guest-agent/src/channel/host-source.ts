import { existsSync } from 'node:fs';
import { GUEST_CHANNEL_PORT } from '@offshoot/shared/channel/vsock-ports.js';
import { NotFound } from '@offshoot/shared/errors.js';
import type { ByteConnection, ByteSource } from './byte-source.js';
import { SocketSource } from './socket-source.js';
import { VirtioSerialSource } from './virtio-serial.js';
import { guestPort, isFromHost } from './vsock-address.js';

/** Made by the driver of the vsock device, where there is one. */
const VSOCK_DEVICE = '/dev/vsock';

/** vsock, as Firecracker and Cloud Hypervisor have it. */
const vsockSource = (): ByteSource =>
  new SocketSource(() => {
    if (existsSync(VSOCK_DEVICE)) return guestPort(GUEST_CHANNEL_PORT);
    throw new NotFound(`no ${VSOCK_DEVICE}`, { reason: 'CHANNEL_MISSING' });
  }, isFromHost);

/** Whatever the hypervisor has for a channel: the sources in order, the first whose device is there. */
export class HostSource implements ByteSource {
  constructor(private readonly sources: readonly ByteSource[] = [new VirtioSerialSource(), vsockSource()]) {}

  async open(): Promise<ByteConnection> {
    const missing: string[] = [];
    for (const source of this.sources)
      try {
        return await source.open();
      } catch (error) {
        if (!(error instanceof NotFound)) throw error;
        missing.push(error.message);
      }
    throw new NotFound(missing.join(', '), { reason: 'CHANNEL_MISSING' });
  }
}
