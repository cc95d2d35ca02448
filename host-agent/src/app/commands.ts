import type { CheckResult } from './doctor/check.js';
import type { ContentType } from '@offshoot/shared/mailbox/frame-layout.js';
import type { Image, ImageUsage, ImportOrder } from '../ports/image-store.js';
import type { DiskFile } from '../ports/disk-preparer.js';
import type { DiskClone } from '../ports/disk-storage.js';
import type { StorageUse } from '../ports/instance-files.js';
import type { WorkloadSpec } from '../ports/guest-link.js';
import type { RequestIdentity } from '../ports/answers.js';
import type { DriverStatus } from '../ports/driver.js';
import type { NetworkStatus } from '../ports/network.js';
import type { Instance } from '../domain/instance.js';
import type { Snapshot } from '../domain/snapshot.js';
import type { InstanceState } from '../domain/instance-state.js';

/**
 * What the daemon can be asked, already parsed: a value of one of these types is well-formed (names, ranges, limits);
 * whether it can be done is for the services to say. All durations are milliseconds.
 */
export interface CreateInstanceCommand {
  /** Undefined: made up. */
  readonly name: string | undefined;
  readonly image: string;
  /** Undefined: the host's default. */
  readonly driver: string | undefined;
  readonly vcpus: number;
  readonly memoryBytes: number;
  /** Undefined: the image's size. */
  readonly diskBytes: number | undefined;
  readonly injection: Injection;
  readonly labels: Readonly<Record<string, string>>;
  readonly workload: WorkloadSpec | undefined;
}

/** What an instance's own disk is given before its first boot. */
export interface Injection {
  /** Of its workloads, too. */
  readonly env: Readonly<Record<string, string>>;
  readonly files: readonly DiskFile[];
  readonly tls: TlsMaterial | undefined;
}

/** PEM, checked: the key is the certificate's. */
export interface TlsMaterial {
  readonly certificate: string;
  readonly key: string;
  /** Certificates of authorities. */
  readonly authorities: string | undefined;
}

export interface StandbyInstanceCommand {
  readonly instance: string;
  readonly waitMailboxes: readonly string[];
  readonly waitTimeoutMs: number;
  /** Whether the workload is frozen in the capture, and in each fork until its identity is in force. */
  readonly freezeWorkload: boolean;
}

export interface MailboxDeliveryCommand {
  readonly name: string;
  /** Undefined: the name alone must be unique. */
  readonly token: string | undefined;
  readonly contentType: ContentType;
  readonly payload: Buffer;
  readonly waitForAck: boolean;
  readonly ackTimeoutMs: number;
  readonly onAckTimeout: 'DELETE' | 'KEEP';
}

export interface ForkInstanceCommand {
  readonly source: string;
  /** What `source` names. */
  readonly of: 'instance' | 'snapshot';
  readonly name: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  /** At most 16, names distinct. */
  readonly mailboxes: readonly MailboxDeliveryCommand[];
  readonly waitForNetwork: boolean;
  readonly networkTimeoutMs: number;
  readonly fromRunning: boolean;
  /** Undefined: STOPPED for a source without memory, else RUNNING. */
  readonly targetState: 'RUNNING' | 'STANDBY' | 'STOPPED' | undefined;
  /** Of a running source: whether its workload is frozen in the capture, and in the fork until its identity is in force. */
  readonly freezeWorkload: boolean;
}

export interface ForkInstancesCommand {
  /** What all have in common; its name begins theirs. */
  readonly fork: ForkInstanceCommand;
  /** 1 to 256. */
  readonly count: number;
  /** Further deliveries by index; empty or one entry a fork. */
  readonly mailboxesByIndex: readonly (readonly MailboxDeliveryCommand[])[];
  readonly allOrNothing: boolean;
}

/** One of several forks: ready, or failed with nothing left of it. */
export interface ForkOutcome {
  readonly index: number;
  readonly result?: ForkResult;
  readonly error?: unknown;
}

export interface ListInstancesCommand {
  readonly pageSize: number;
  readonly pageToken: string;
  readonly states: readonly InstanceState[];
  readonly labels: Readonly<Record<string, string>>;
}

/** A mailbox as shown to callers. */
export interface MailboxView {
  readonly name: string;
  readonly tokenFingerprint: string;
  readonly state: 'armed' | 'delivered' | 'consumed' | 'disposed';
  readonly capacityBytes: number;
  /** Deliveries so far; undefined for a running instance, whose memory is not looked at. */
  readonly generation: number | undefined;
  readonly registered: boolean;
  readonly segments: number;
  /** Of these, how many are in memory. */
  readonly segmentsFound: number;
  /** Whose memory it is in. */
  readonly armedBy: 'agent' | 'program';
  /** Only where it was asked for. */
  readonly token?: string;
}

export interface MailboxAckView {
  readonly mailbox: string;
  /** Empty: none came in time and the fork was kept. */
  readonly stage: '' | 'applied';
  readonly detail: string;
  readonly latencyMs: number;
}

/** Milliseconds; see ForkTimings in instance_service.proto. */
export interface ForkTimings {
  readonly clone: number;
  readonly spawn: number;
  readonly load: number;
  readonly patch: number;
  readonly resume: number;
  readonly network: number;
  readonly ack: number;
  readonly total: number;
  /** How long a running source stood still; undefined for one that was not running. */
  readonly sourcePause: number | undefined;
}

export interface ForkResult {
  readonly instance: Instance;
  readonly acks: readonly MailboxAckView[];
  /** The fork's disk, cloned from what it was forked from. */
  readonly disk: DiskClone;
  /** That of a running source, cloned while it stood still; undefined for one that was not running or paused. */
  readonly sourceDisk: DiskClone | undefined;
  readonly timings: ForkTimings;
}

export interface CreateSnapshotCommand {
  readonly instance: string;
  /** Undefined: made up. */
  readonly name: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  /** Of a running instance: whether its workload is frozen in the snapshot, and in each fork until its identity is in force. */
  readonly freezeWorkload: boolean;
  /** Whether to answer only when everything is on stable storage. */
  readonly waitDurable: boolean;
}

export interface CreatedSnapshot {
  readonly snapshot: Snapshot;
  /** How long a running source stood still, in milliseconds; undefined for one that was not running. */
  readonly sourcePauseMs: number | undefined;
}

export interface ListSnapshotsCommand {
  readonly pageSize: number;
  readonly pageToken: string;
  /** Only those of this instance; all when empty. */
  readonly instance: string;
  readonly labels: Readonly<Record<string, string>>;
}

export type LogSource = 'workload' | 'console' | 'vmm';

export interface HostView {
  readonly version: string;
  readonly hostname: string;
  readonly drivers: readonly DriverStatus[];
  readonly network: NetworkStatus & { readonly ackPort: number };
  readonly vcpus: number;
  readonly memoryBytes: number;
  readonly diskFreeBytes: number;
  readonly instances: number;
  readonly runningInstances: number;
  readonly guestMemoryBytes: number;
}

/**
 * What the gRPC layer calls. Every method takes the caller's signal: cancelled or past its deadline, the work is undone. Those
 * that change something take the identity of the request, where its caller gave it one: repeated, it gets its first answer.
 */
export interface InstanceOperations {
  create(
    command: CreateInstanceCommand,
    signal: AbortSignal,
    request?: RequestIdentity,
  ): Promise<{ instance: Instance; bootMs: number }>;
  get(reference: string): Instance;
  mailboxesOf(
    reference: string,
    signal: AbortSignal,
  ): Promise<{ instance: Instance; mailboxes: readonly MailboxView[] }>;
  /** What an instance takes of the host's disk. Looks at each of its files. */
  storageOf(reference: string): Promise<StorageUse>;
  list(command: ListInstancesCommand): { instances: readonly Instance[]; nextPageToken: string };
  standby(
    command: StandbyInstanceCommand,
    signal: AbortSignal,
    request?: RequestIdentity,
  ): Promise<{ instance: Instance; captureMs: number }>;
  restore(
    reference: string,
    signal: AbortSignal,
    request?: RequestIdentity,
  ): Promise<{ instance: Instance; restoreMs: number }>;
  start(
    reference: string,
    signal: AbortSignal,
    request?: RequestIdentity,
  ): Promise<{ instance: Instance; bootMs: number }>;
  pause(reference: string, signal: AbortSignal, request?: RequestIdentity): Promise<Instance>;
  resume(reference: string, signal: AbortSignal, request?: RequestIdentity): Promise<Instance>;
  fork(command: ForkInstanceCommand, signal: AbortSignal, request?: RequestIdentity): Promise<ForkResult>;
  /** Each fork as it is ready. Ends early without those under way when the iteration is left. */
  forkMany(command: ForkInstancesCommand, signal: AbortSignal, request?: RequestIdentity): AsyncIterable<ForkOutcome>;
  stop(reference: string, graceMs: number, signal: AbortSignal, request?: RequestIdentity): Promise<Instance>;
  delete(reference: string, force: boolean, signal: AbortSignal, request?: RequestIdentity): Promise<void>;
  /** Ends after the last byte written so far, or when the signal does if `follow`. */
  logs(reference: string, source: LogSource, follow: boolean, signal: AbortSignal): AsyncIterable<Buffer>;
  /** The instance that has this credential now. @throws NotFound */
  ownerOf(credential: string): Instance;
  /** Absolute path of the instance's folder, for display. */
  directoryOf(instance: Instance): string;
}

export interface SnapshotOperations {
  create(command: CreateSnapshotCommand, signal: AbortSignal, request?: RequestIdentity): Promise<CreatedSnapshot>;
  get(reference: string): Snapshot;
  /** Sorted by name. */
  mailboxesOf(
    reference: string,
    options: { readonly tokens: boolean },
    signal: AbortSignal,
  ): Promise<readonly MailboxView[]>;
  list(command: ListSnapshotsCommand): { snapshots: readonly Snapshot[]; nextPageToken: string };
  /** In place: the instance it was taken of is again what it was. */
  restore(
    reference: string,
    signal: AbortSignal,
    request?: RequestIdentity,
  ): Promise<{ instance: Instance; restoreMs: number }>;
  /** Reads everything. @throws Corrupt naming the file and both values */
  verify(reference: string, signal: AbortSignal): Promise<Snapshot>;
  delete(reference: string, signal: AbortSignal, request?: RequestIdentity): Promise<void>;
  /** Absolute path of the snapshot's folder, for display. */
  directoryOf(snapshot: Snapshot): string;
  /** What its files take on disk; other names of the same memory may share it. */
  allocatedBytes(snapshot: Snapshot): Promise<number>;
}

export interface HostOperations {
  describe(signal: AbortSignal): Promise<HostView>;
  /** Every check, each result as it comes. */
  examine(options: { readonly fix: boolean }, signal: AbortSignal): AsyncGenerator<CheckResult, void, undefined>;
}

export interface ListedImage extends Image {
  readonly usage: ImageUsage;
}

export interface ImageOperations {
  import(
    order: ImportOrder,
    onStep: (step: { step: string; index: number; total: number }) => void,
    signal: AbortSignal,
    request?: RequestIdentity,
  ): Promise<Image>;
  /** Newest first. */
  list(): Promise<readonly ListedImage[]>;
  delete(reference: string, signal: AbortSignal, request?: RequestIdentity): Promise<void>;
}
