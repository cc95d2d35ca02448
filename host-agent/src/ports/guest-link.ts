import type { Duplex } from 'node:stream';
import type { AgentInfo, RegisteredMailbox } from '../domain/instance.js';
import type { NetworkIdentity } from '../domain/network-identity.js';

export interface WorkloadSpec {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly workingDirectory: string;
  readonly files: readonly { readonly path: string; readonly mode: number; readonly content: Buffer }[];
}

/** What a fork is inside, besides its place on the network. What is absent stays as it is in the guest. */
export interface ForkIdentity extends NetworkIdentity {
  /** One label: `^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`. */
  readonly hostname?: string;
  /** 32 lower-case hex digits, not all zero. */
  readonly machineId?: string;
  /** 64 random bytes, used once and for one fork. */
  readonly entropy?: Buffer;
  /** The host's wall clock when this is sent, in milliseconds since 1970; a fraction is used. */
  readonly hostTimeMs?: number;
  /** Secret by which the guest's software shows whose it is: 43 characters of base64url. */
  readonly credential?: Buffer;
}

export interface QuiesceOptions {
  /** False prefers the shortest pause: the fork's workload then may run some instructions under the source's identity. */
  readonly freezeWorkload: boolean;
  /** After this long of running time, from 1000 to 60000 ms, a guest that hears no more of any host goes on by itself. */
  readonly timeoutMs: number;
}

/** A guest that waits to be captured. */
export interface Quiesced {
  /**
   * `performance.now()` by which the VM must stand still for its capture to be used: a second before the guest could go on
   * by itself.
   */
  readonly stopBefore: number;
}

/** What the host hears from a guest without asking. */
export interface GuestEvents {
  /** The whole set, at first and after each change. */
  onMailboxes(mailboxes: readonly RegisteredMailbox[]): void;
  /** Output of the workload, in order; `offset` counts from its first byte. */
  onWorkloadOutput(offset: number, data: Buffer): void;
  /** What the agent says to be an acknowledgement, once in each session until it is confirmed. Returns the nonce to confirm. */
  onAck(line: Buffer): bigint | undefined;
}

/**
 * The host's side of one VM's byte channel and the agent behind it. Keeps the raw channel open and drained for as long as
 * the VM lives (a guest that writes into a port nobody reads is stuck), redials when it breaks, and begins a new session
 * each time.
 */
export interface GuestLink {
  /** Resolves with the agent's first answer since the link was opened. */
  hello(signal: AbortSignal): Promise<AgentInfo>;
  /**
   * Begins a session at once: the bytes of its marker are what wakes a restored agent, so call it before the guest runs. The
   * host says nothing in that session until it is told to {@link speak}, something is asked of the guest, or a second has
   * passed: gRPC's first words cost an emulated guest some 100 ms, which belong to the fork's own work.
   */
  wake(): void;
  /** The guest has done what it was woken for. Does no harm where the host speaks already. */
  speak(): void;
  /** What the agent last registered; undefined before it did. */
  mailboxes(): readonly RegisteredMailbox[] | undefined;
  /** Resolves when all of `names` are registered as armed. @throws Timeout (with the names that are armed) when the signal ends first */
  waitForMailboxes(names: readonly string[], signal: AbortSignal): Promise<void>;
  /** Puts the identity into force by a call, where it could not be delivered into memory; thaws the workload when that is done. */
  reconfigureNetwork(identity: ForkIdentity, signal: AbortSignal): Promise<void>;
  /**
   * Makes the guest ready for a capture: before-snapshot hooks, workload frozen, credential wiped, disks synced. Whatever comes of it, also
   * when it fails or the signal ends first: call {@link thaw} on the source (after the capture), on a restored instance
   * that was captured so (after its resume), and on an instance that a restarted daemon adopts. A session that begins
   * after this tells the guest that a host lives and will call; until then its own time limit runs. A fork is not thawed by
   * call: its identity does that.
   * @throws InvalidInput for a limit out of range; Unsupported when the guest has no cgroup v2 and a workload to freeze;
   * InvalidState while another call quiesces; Timeout when it took longer than `timeoutMs`
   */
  quiesce(options: QuiesceOptions, signal: AbortSignal): Promise<Quiesced>;
  /**
   * Lets the workload run on. Before that the guest has its credential, and a clock that is behind, as after a standby, is
   * set. Does no harm where nothing is frozen.
   */
  thaw(credential: Buffer, signal: AbortSignal): Promise<void>;
  /** Writes files, starts the program; resolves with its pid in the guest (0 for none). */
  startWorkload(workload: WorkloadSpec, signal: AbortSignal): Promise<number>;
  shutdown(signal: AbortSignal): Promise<void>;
  /** Offset after the last byte of workload output handed to the events. */
  readonly workloadLogOffset: number;
  close(): Promise<void>;
}

export interface GuestLinkOptions {
  /** Opens the raw channel; called again when it breaks. */
  readonly dial: (signal?: AbortSignal) => Promise<Duplex>;
  /** Offset of the first byte of workload output that is wanted. */
  readonly workloadLogOffset: number;
  readonly logName: string;
}

export interface GuestLinkFactory {
  /** Resolves once the raw channel is connected. */
  open(options: GuestLinkOptions, events: GuestEvents, signal?: AbortSignal): Promise<GuestLink>;
  /**
   * For a guest that has long been running. Nothing is dialled, and the guest sleeps on, until the link is told to
   * {@link GuestLink.wake} it or something is asked of it.
   */
  attach(options: GuestLinkOptions, events: GuestEvents): GuestLink;
}
