import { GuestServiceService as Guest } from '@offshoot/proto/generated/offshoot/guest/v1/guest_service.js';
import type { SessionStream } from '@offshoot/shared/channel/session-stream.js';
import {
  InvalidInput,
  Timeout,
  Unreachable,
  Unsupported,
  messageOf,
  type OffshootError,
} from '@offshoot/shared/errors.js';
import type { Logger } from 'pino';
import type { AgentInfo, RegisteredMailbox } from '../domain/instance.js';
import type {
  ForkIdentity,
  GuestEvents,
  GuestLink,
  Quiesced,
  QuiesceOptions,
  WorkloadSpec,
} from '../ports/guest-link.js';
import { AckConfirmations } from './ack-confirmations.js';
import { parseHello, parseMailboxes, parseOutputOffset } from './guest-answers.js';
import { GuestRpc } from './guest-rpc.js';
import type { SessionChannel, SessionChannelEvents } from './session-channel.js';

/** An agent under emulation loads gRPC before it can answer the first time: seconds, not milliseconds. */
const HELLO_TIMEOUT_MS = 20_000;
/** Pause before the next session after one that failed; doubles up to the maximum while none succeeds. */
const FIRST_PAUSE_MS = 1000;
const MAX_PAUSE_MS = 30_000;
/** What the guest takes as the limit of a quiesce, in milliseconds. */
const QUIESCE_LIMIT_MS = { least: 1000, most: 60_000 } as const;
/** How long the host says nothing after a wake, in milliseconds: as long as a fork's agent waits before it acks over the channel. */
const QUIET_LIMIT_MS = 1000;
/** Left of that limit when the VM has to stand still, in milliseconds: in a fork the rest of it begins to run again. */
const QUIESCE_RESERVE_MS = 1000;

/** {@link GuestLink} over a {@link SessionChannel}; opened by GrpcGuestLinkFactory. */
export class SessionGuestLink implements GuestLink, SessionChannelEvents {
  private info: AgentInfo | undefined;
  private registered: readonly RegisteredMailbox[] | undefined;
  /** The session in use; undefined until its agent has said hello. */
  private rpc: GuestRpc | undefined;
  private current: GuestRpc | undefined;
  private offset: number;
  private gone: Unreachable | undefined;
  private pauseMs = FIRST_PAUSE_MS;
  private readonly waiting = new Set<() => void>();
  /** Runs while the host holds its tongue; see {@link wake}. */
  private quiet: NodeJS.Timeout | undefined;
  /** A session of that time, which nothing has been said in yet. */
  private unspoken: SessionStream | undefined;
  private readonly channel: SessionChannel;
  /** Sessions begin by themselves once the first was asked for. */
  private begun = false;

  constructor(
    private readonly hostVersion: string,
    workloadLogOffset: number,
    private readonly events: GuestEvents,
    private readonly logger: Logger,
    channelOf: (link: SessionChannelEvents) => SessionChannel,
  ) {
    this.offset = workloadLogOffset;
    this.channel = channelOf(this);
  }

  /** Connects and begins the first session. Rejects with what the dialler rejects with. */
  async open(signal?: AbortSignal): Promise<void> {
    this.begun = true;
    await this.channel.open(signal);
  }

  hello(signal: AbortSignal): Promise<AgentInfo> {
    return this.until(
      () => this.info,
      signal,
      () => new Timeout('the guest agent did not answer in time', { reason: 'AGENT_SILENT' }),
    );
  }

  wake(): void {
    clearTimeout(this.quiet);
    this.quiet = setTimeout(() => {
      this.speak();
    }, QUIET_LIMIT_MS);
    this.begun = true;
    this.channel.beginSession();
  }

  speak(): void {
    clearTimeout(this.quiet);
    this.quiet = undefined;
    const stream = this.unspoken;
    this.unspoken = undefined;
    if (stream !== undefined) this.begin(stream);
  }

  mailboxes(): readonly RegisteredMailbox[] | undefined {
    return this.registered;
  }

  async waitForMailboxes(names: readonly string[], signal: AbortSignal): Promise<void> {
    const armed = (): string[] =>
      (this.registered ?? []).filter(({ state }) => state === 'armed').map(({ name }) => name);
    await this.until(
      () => {
        const present = armed();
        return names.every((name) => present.includes(name)) ? true : undefined;
      },
      signal,
      () => {
        const present = armed().join(', ');
        return new Timeout(`mailboxes not armed in time: wanted ${names.join(', ')}; armed: ${present || 'none'}`, {
          reason: 'MAILBOX_NOT_ARMED',
          metadata: { wanted: names.join(','), armed: armed().join(',') },
        });
      },
    );
  }

  async reconfigureNetwork(identity: ForkIdentity, signal: AbortSignal): Promise<void> {
    const { mac, ipv4, prefixLength, gateway, hostname, machineId, entropy, hostTimeMs, credential } = identity;
    const rpc = await this.ready(signal);
    const request = { mac, ipv4, prefixLength, gateway, hostname, machineId, entropy, hostTimeMs, credential };
    await rpc.unary(Guest.reconfigureNetwork, request, signal);
  }

  async quiesce({ freezeWorkload, timeoutMs }: QuiesceOptions, signal: AbortSignal): Promise<Quiesced> {
    const { least, most } = QUIESCE_LIMIT_MS;
    if (!Number.isInteger(timeoutMs) || timeoutMs < least || timeoutMs > most)
      throw InvalidInput.field('timeoutMs', `must be a whole number from ${String(least)} to ${String(most)}`);
    const rpc = await this.ready(signal);
    // The guest begins to count when it hears this, later than we do.
    const stopBefore = performance.now() + timeoutMs - QUIESCE_RESERVE_MS;
    const { workloadOutputEnd } = await rpc.unary(Guest.quiesce, { freezeWorkload, timeoutMs }, signal);
    // What the workload said before belongs to this instance's log; a fork would otherwise say it again.
    await this.until(
      () => (BigInt(this.offset) >= workloadOutputEnd ? true : undefined),
      AbortSignal.any([signal, AbortSignal.timeout(Math.max(0, Math.ceil(stopBefore - performance.now())))]),
      () => new Timeout('the output of the workload did not arrive in time', { reason: 'WORKLOAD_OUTPUT_LATE' }),
    );
    return { stopBefore };
  }

  async thaw(credential: Buffer, signal: AbortSignal): Promise<void> {
    const rpc = await this.ready(signal);
    await rpc.unary(Guest.thaw, { hostTimeMs: Date.now(), credential }, signal);
  }

  async startWorkload(workload: WorkloadSpec, signal: AbortSignal): Promise<number> {
    const rpc = await this.ready(signal);
    const answer = await rpc.unary(
      Guest.startWorkload,
      {
        argv: [...workload.argv],
        env: { ...workload.env },
        workingDirectory: workload.workingDirectory,
        files: workload.files.map((file) => ({ ...file })),
      },
      signal,
    );
    return answer.pid;
  }

  async shutdown(signal: AbortSignal): Promise<void> {
    const rpc = await this.ready(signal);
    await rpc.unary(Guest.shutdown, {}, signal);
  }

  get workloadLogOffset(): number {
    return this.offset;
  }

  close(): Promise<void> {
    clearTimeout(this.quiet);
    this.end(new Unreachable('the link to the guest is closed', { reason: 'GUEST_LINK_CLOSED' }));
    this.channel.close();
    return Promise.resolve();
  }

  onSession(stream: SessionStream): void {
    if (this.quiet === undefined) this.begin(stream);
    else this.unspoken = stream;
  }

  private begin(stream: SessionStream): void {
    const rpc = new GuestRpc(stream);
    this.current = rpc;
    void this.serve(rpc).catch((error: unknown) => {
      if (this.current !== rpc) return; // lost for another reason, which was dealt with
      this.logger.warn({ reason: messageOf(error) }, 'guest session given up');
      this.channel.restart(messageOf(error), this.pauseMs);
      this.pauseMs = Math.min(2 * this.pauseMs, MAX_PAUSE_MS);
    });
  }

  onLost(reason: string): void {
    this.logger.debug({ reason }, 'guest session over');
    const rpc = this.current;
    this.current = undefined;
    this.rpc = undefined;
    this.unspoken = undefined;
    rpc?.[Symbol.dispose]();
  }

  onGone(cause: unknown): void {
    this.end(new Unreachable('the VM is gone', { reason: 'GUEST_GONE', cause }));
  }

  /** The life of one session; rejects when it is over. */
  private async serve(rpc: GuestRpc): Promise<never> {
    const hello = await rpc.unary(
      Guest.hello,
      { hostVersion: this.hostVersion },
      AbortSignal.timeout(HELLO_TIMEOUT_MS),
    );
    const info = parseHello(hello);
    const mailboxes = parseMailboxes(hello.mailboxes);
    if (this.current !== rpc) throw new Unreachable('superseded', { reason: 'GUEST_CALL_CUT' });
    this.info = info;
    this.rpc = rpc;
    this.takeMailboxes(mailboxes);
    const over = new AbortController();
    const registrations = rpc.stream(Guest.registerMailbox, {}, over.signal, (message) => {
      if (this.current !== rpc) return;
      this.takeMailboxes(parseMailboxes(message.mailboxes));
      this.pauseMs = FIRST_PAUSE_MS;
    });
    const output = rpc.stream(
      Guest.streamWorkloadOutput,
      { fromOffset: BigInt(this.offset) },
      over.signal,
      ({ offset, data }) => {
        if (this.current !== rpc) return;
        const at = parseOutputOffset(offset, data.length, this.offset);
        this.offset = at + data.length;
        this.events.onWorkloadOutput(at, data);
        this.changed();
      },
    );
    const acks = this.takeAcks(rpc, over.signal);
    try {
      await Promise.race([registrations, output, acks, rpc.closed]);
      throw new Unreachable('the agent ended a standing call', { reason: 'GUEST_CALL_CUT' });
    } finally {
      over.abort();
      await Promise.allSettled([registrations, output, acks]);
    }
  }

  /** An agent from before this call sends its acks by UDP alone: then there is nothing to take for as long as the session is. */
  private async takeAcks(rpc: GuestRpc, signal: AbortSignal): Promise<void> {
    const confirmations = new AckConfirmations((nonces) => rpc.unary(Guest.confirmAcks, { nonces }, signal));
    try {
      await rpc.stream(Guest.streamAcks, {}, signal, ({ line }) => {
        const nonce = this.current === rpc ? this.events.onAck(line) : undefined;
        if (nonce !== undefined) confirmations.add(nonce);
      });
    } catch (error) {
      if (!(error instanceof Unsupported)) throw error;
      await new Promise((resolve) => {
        signal.addEventListener('abort', resolve, { once: true });
        if (signal.aborted) resolve(undefined);
      });
    }
  }

  private takeMailboxes(mailboxes: readonly RegisteredMailbox[]): void {
    this.registered = mailboxes;
    this.events.onMailboxes(mailboxes);
    this.changed();
  }

  private ready(signal: AbortSignal): Promise<GuestRpc> {
    return this.until(
      () => this.rpc,
      signal,
      () => new Timeout('the guest agent did not answer in time', { reason: 'AGENT_SILENT' }),
    );
  }

  private end(error: Unreachable): void {
    this.gone ??= error;
    this.changed();
  }

  private changed(): void {
    for (const look of [...this.waiting]) look();
  }

  /** Waits until `probe` finds something; looked at after every change. */
  private until<T>(probe: () => T | undefined, signal: AbortSignal, onTimeout: () => OffshootError): Promise<T> {
    if (this.begun) this.speak();
    else {
      this.begun = true;
      this.channel.beginSession();
    }
    return new Promise((resolve, reject) => {
      const settle = (act: () => void): void => {
        this.waiting.delete(look);
        signal.removeEventListener('abort', look);
        act();
      };
      const look = (): void => {
        const found = probe();
        const gone = this.gone;
        if (gone !== undefined) {
          settle(() => {
            reject(gone);
          });
        } else if (found !== undefined) {
          settle(() => {
            resolve(found);
          });
        } else if (signal.aborted) {
          settle(() => {
            reject(onTimeout());
          });
        }
      };
      this.waiting.add(look);
      signal.addEventListener('abort', look);
      look();
    });
  }
}
