import type { Duplex } from 'node:stream';
import type { AgentInfo, RegisteredMailbox } from '../domain/instance.js';
import type { NetworkIdentity } from '../domain/network-identity.js';

export interface WorkloadSpec {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly workingDirectory: string;
  readonly files: readonly { readonly path: string; readonly mode: number; readonly content: Buffer }[];
}

/** What the host hears from a guest without asking. */
export interface GuestEvents {
  /** The whole set, at first and after each change. */
  onMailboxes(mailboxes: readonly RegisteredMailbox[]): void;
  /** Output of the workload, in order; `offset` counts from its first byte. */
  onWorkloadOutput(offset: number, data: Buffer): void;
}

/**
 * The host's side of one VM's byte channel and the agent behind it. Keeps the raw channel open and drained for as long as
 * the VM lives (a guest that writes into a port nobody reads is stuck), redials when it breaks, and begins a new session
 * each time.
 */
export interface GuestLink {
  /** Resolves with the agent's first answer since the link was opened. */
  hello(signal: AbortSignal): Promise<AgentInfo>;
  /** Begins a session at once: the bytes of its marker are what wakes a restored agent, so call it before the guest runs. */
  wake(): void;
  /** What the agent last registered; undefined before it did. */
  mailboxes(): readonly RegisteredMailbox[] | undefined;
  /** Resolves when all of `names` are registered as armed. @throws Timeout (with the names that are armed) when the signal ends first */
  waitForMailboxes(names: readonly string[], signal: AbortSignal): Promise<void>;
  reconfigureNetwork(identity: NetworkIdentity, signal: AbortSignal): Promise<void>;
  /** Writes files, starts the program; resolves with its pid in the guest (0 for none). */
  startWorkload(workload: WorkloadSpec, signal: AbortSignal): Promise<number>;
  shutdown(signal: AbortSignal): Promise<void>;
  /** Offset after the last byte of workload output handed to the events. */
  readonly workloadLogOffset: number;
  close(): Promise<void>;
}

export interface GuestLinkFactory {
  /** @param dial opens the raw channel; called again when it breaks. Resolves once the raw channel is connected. */
  open(
    options: { dial: (signal?: AbortSignal) => Promise<Duplex>; workloadLogOffset: number; logName: string },
    events: GuestEvents,
    signal?: AbortSignal,
  ): Promise<GuestLink>;
}
