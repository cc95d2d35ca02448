import type { Duplex } from 'node:stream';
import { messageOf } from '@offshoot/shared/errors.js';
import type { ByteSource } from './channel/byte-source.js';
import { GuestChannel } from './channel/guest-channel.js';
import { LocalCalls } from './local/local-calls.js';
import { LocalServer } from './local/local-server.js';
import { log } from './log.js';
import { AckSender } from './mailbox/ack-sender.js';
import { DeliveryAcks } from './mailbox/delivery-acks.js';
import { ForkWake } from './mailbox/fork-wake.js';
import { UserMailboxes } from './mailbox/user-mailboxes.js';
import { ForkNetwork, type IdentityTarget } from './network/fork-network.js';
import type { GuestServiceParts } from './rpc/guest-service.js';
import { OutputRing } from './workload/output-ring.js';
import { Workload } from './workload/workload.js';

export interface AgentOptions {
  readonly source: ByteSource;
  readonly localSocket: string;
  readonly network: IdentityTarget;
  readonly powerOff: (flushed: () => Promise<void>) => Promise<void>;
}

/** Puts the parts of the agent together and serves until the signal ends. */
export async function runAgent(options: AgentOptions, signal: AbortSignal): Promise<void> {
  const listeners = new Set<() => void>();
  const changed = (): void => {
    for (const listener of [...listeners]) listener();
  };
  await using sender = await AckSender.open();
  const acks = new DeliveryAcks(sender);
  const network = new ForkNetwork(options.network, acks);
  const users = new UserMailboxes(changed);
  const wake = new ForkWake(network, users, changed);
  const output = new OutputRing();

  const parts: GuestServiceParts = {
    registrations: () => wake.registrations(),
    onRegistrations: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    reconfigureNetwork: (identity) => {
      network.apply(identity);
      wake.releaseIfApplied();
    },
    workload: new Workload(output),
    output,
    shutdown: () => options.powerOff(() => channel.flushed()),
  };
  // gRPC takes longest to load, so it is loaded when a session speaks.
  let serve: Promise<(stream: Duplex) => void> | undefined;
  const load = async (): Promise<(stream: Duplex) => void> =>
    (await import('./rpc/grpc-server.js')).serveSessions(parts);
  const channel = new GuestChannel(options.source, {
    onWake: () => wake.look(),
    onSession: (stream) => {
      serve ??= load();
      serve
        .then((inject) => {
          if (!stream.destroyed) inject(stream);
        })
        .catch((error: unknown) => {
          log(`gRPC: ${messageOf(error)}`);
          stream.destroy();
        });
    },
  });
  const calls = new LocalCalls(users, acks, () => {
    wake.look();
  });
  // Before the channel: a workload the host starts at once finds the socket.
  const server = await LocalServer.listen(options.localSocket, calls);
  try {
    await channel.run(signal);
  } finally {
    await server[Symbol.asyncDispose]();
  }
}
