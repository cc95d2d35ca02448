import type { Duplex } from 'node:stream';
import { InvalidInput, messageOf } from '@offshoot/shared/errors.js';
import type { ByteSource } from './channel/byte-source.js';
import { GuestChannel } from './channel/guest-channel.js';
import { ForkIdentities } from './identity/fork-identities.js';
import { firstRehearsal } from './identity/first-rehearsal.js';
import { parseCredential, type ForkIdentity } from './identity/fork-identity.js';
import type { HookDirectory } from './hooks/hook-directory.js';
import type { IdentityParts } from './identity/identity-steps.js';
import { catchUp } from './identity/wall-clock.js';
import { Rehearsal } from './identity/rehearsal.js';
import { keepCodeAsItIs } from './os/v8-code.js';
import { LocalCalls, type IdentityView } from './local/local-calls.js';
import { LocalServer } from './local/local-server.js';
import { log } from './log.js';
import { AttachedMailboxes } from './mailbox/attached-mailboxes.js';
import { ChannelAcks } from './mailbox/channel-acks.js';
import { DeliveryAcks } from './mailbox/delivery-acks.js';
import { ForkWake } from './mailbox/fork-wake.js';
import { MailboxRoom } from './mailbox/mailbox-room.js';
import { SocketAcks } from './mailbox/socket-acks.js';
import { UdpAcks } from './mailbox/udp-acks.js';
import { UserMailboxes } from './mailbox/user-mailboxes.js';
import { Quiescence } from './quiesce/quiescence.js';
import type { GuestServiceParts } from './rpc/guest-service.js';
import { StandingCalls } from './rpc/standing-calls.js';
import { OutputRing } from './workload/output-ring.js';
import { Workload } from './workload/workload.js';
import type { WorkloadCgroup } from './workload/workload-cgroup.js';

export interface AgentOptions {
  readonly source: ByteSource;
  readonly localSocket: string;
  readonly identity: IdentityParts;
  /** The identity this VM has; undefined while it has no address. */
  readonly present: () => ForkIdentity | undefined;
  /** What this VM is now, for guest software that asks. */
  readonly describe: () => IdentityView;
  readonly hooks: { readonly beforeSnapshot: HookDirectory; readonly afterFork: HookDirectory };
  readonly workloads: WorkloadCgroup;
  /** Writes everything dirty to the disks. */
  readonly sync: () => Promise<void>;
  readonly powerOff: (flushed: () => Promise<void>) => Promise<void>;
}

/** The year 3000. */
const END_OF_TIME = Date.UTC(3000);

/** Puts the parts of the agent together and serves until the signal ends. */
export async function runAgent(options: AgentOptions, signal: AbortSignal): Promise<void> {
  const listeners = new Set<() => void>();
  const changed = (): void => {
    for (const listener of [...listeners]) listener();
  };
  await using udpAcks = await UdpAcks.open();
  const channelAcks = new ChannelAcks();
  const acks = new DeliveryAcks({ udp: udpAcks, vsock: new SocketAcks(), channel: channelAcks });
  const standingCalls = new StandingCalls();
  const quiescence = new Quiescence({
    workload: options.workloads,
    hooks: options.hooks.beforeSnapshot,
    drained: () => workload.drained(),
    wipeSecrets: () => {
      options.identity.credential.wipe();
    },
    sync: options.sync,
    look: () => wake.look(),
    now: () => performance.now(),
  });
  const identities = new ForkIdentities(
    { identity: options.identity, afterFork: options.hooks.afterFork, quiescence, acks, log },
    () => {
      wake.identityApplied();
    },
  );
  const room = new MailboxRoom();
  const mailboxes = new UserMailboxes(room, changed);
  const attached = new AttachedMailboxes(room, changed);
  const rehearsal = new Rehearsal({
    identity: options.identity,
    afterFork: options.hooks.afterFork,
    present: options.present,
    acks,
  });
  const wake = new ForkWake(identities, rehearsal, [mailboxes, attached], {
    // The session that stands was another VM's, and has nothing more to hear.
    delivery: () => {
      standingCalls.endAll();
    },
    change: changed,
  });
  const output = new OutputRing();
  const workload = new Workload(output, options.workloads);

  const parts: GuestServiceParts = {
    registrations: () => wake.registrations(),
    onRegistrations: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    applyIdentity: (identity) => identities.apply(identity),
    quiesce: async (request) => {
      await quiescence.quiesce(request);
      // The capture is taken with these addresses, and the kernel may have moved pages since they were last told.
      changed();
    },
    thaw: (hostTimeMs, credential) => {
      if (!(hostTimeMs >= 0 && hostTimeMs < END_OF_TIME)) throw InvalidInput.field('host_time_ms', 'is no time');
      if (credential !== undefined) {
        options.identity.credential.set(parseCredential(credential));
        credential.fill(0);
      }
      const step = catchUp(options.identity.clock, hostTimeMs);
      quiescence.thaw();
      if (step > 0) log(`clock stepped by ${step.toFixed(1)} ms`);
    },
    workload,
    output,
    channelAcks,
    standingCalls,
    shutdown: () => options.powerOff(() => channel.flushed()),
  };
  // gRPC takes longest to load, so it is loaded when a session speaks.
  let serve: Promise<(stream: Duplex) => void> | undefined;
  const load = async (): Promise<(stream: Duplex) => void> => {
    const { serveSessions } = await import('./rpc/grpc-server.js');
    keepCodeAsItIs();
    return serveSessions(parts);
  };
  const channel = new GuestChannel(options.source, {
    onWake: () => wake.look(),
    onSync: () => {
      standingCalls.endAll();
      quiescence.sessionBegan();
    },
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
  const calls = new LocalCalls({
    mailboxes,
    attached,
    acks,
    channelAcks,
    describe: options.describe,
    look: () => {
      wake.look();
    },
  });
  quiescence.takeOver();
  await firstRehearsal(rehearsal, () => {
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
