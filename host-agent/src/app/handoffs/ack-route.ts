import { HOST_ACK_PORT } from '@offshoot/shared/channel/vsock-ports.js';
import { DRIVER_CAPABILITIES } from '../../domain/driver-capabilities.js';
import type { Instance } from '../../domain/instance.js';
import type { AckEndpoint } from '../../mailbox/delivery.js';
import type { AckExpectation } from '../../ports/ack-listener.js';
import type { Context } from '../context.js';

/** How a fork acknowledges what is delivered into it, and from where that will come. */
export interface AckPath {
  readonly ack: AckEndpoint;
  readonly from: Pick<AckExpectation, 'instance' | 'fromAddress'>;
}

/** Over vsock where there is one: it needs no network in the guest, and comes in at the fork's own socket. Else by datagram. */
export function ackPathOf({ acks, network }: Pick<Context, 'acks' | 'network'>, fork: Instance): AckPath {
  const { id, driver } = fork;
  const { ipv4, gateway } = fork.network;
  return {
    ack: DRIVER_CAPABILITIES[driver].vsock
      ? { transport: 'vsock', port: HOST_ACK_PORT }
      : { transport: 'udp', address: gateway, port: acks.port },
    from: { instance: id, ...(network.status.sourceAddressIsGuest ? { fromAddress: ipv4 } : {}) },
  };
}
