import type { ImageId, InstanceId, SnapshotId } from './ids.js';
import type { InstanceState } from './instance-state.js';
import type { NetworkIdentity, NetworkMode } from './network-identity.js';
import type { DriverName } from './driver-capabilities.js';
import type { StorageName } from './storage-name.js';

/** A guest frame whose place in memory the guest agent told us. */
export interface RegisteredMailbox {
  readonly name: string;
  readonly tokenFingerprint: string;
  /** Frame nonce, 16 hex digits (JSON knows no 64-bit numbers). */
  readonly nonce: string;
  /** Guest-physical address of each segment. */
  readonly segmentAddresses: readonly number[];
  readonly state: 'armed' | 'delivered' | 'consumed' | 'disposed';
  /** Whether it is in a program's own memory, not in the agent's. */
  readonly attached: boolean;
}

/** A stretch of guest memory: where it is for the guest, and where in the memory file. Bytes throughout. */
export interface MemoryRegion {
  readonly gpa: number;
  readonly size: number;
  readonly fileOffset: number;
}

/** Cheap identity of a file: compared before a capture is used, so that a swapped or truncated file is not loaded. */
export interface FileStamp {
  readonly size: number;
  readonly mtimeNs: string;
  readonly inode: string;
}

/** What a capture left in the instance's folder, and all that must be the same for it to be loaded again. */
export interface Capture {
  readonly takenAt: string;
  /** Device state, in the instance's folder. */
  readonly stateFile: string;
  readonly stateSha256: string;
  /** Guest memory, in the instance's folder. */
  readonly memoryFile: string;
  readonly memoryStamp: FileStamp;
  readonly regions: readonly MemoryRegion[];
  readonly driver: DriverName;
  readonly driverVersion: string;
  readonly machineType: string;
  readonly cpuModel: string;
  readonly accelerator: string;
  readonly networkMode: NetworkMode;
  /** What the agent had registered when the VM was paused. */
  readonly registeredMailboxes: readonly RegisteredMailbox[];
  /** Offset of the first byte of workload output the host had not yet received. */
  readonly workloadLogOffset: number;
}

/** A VMM process as it can be found again after a restart of the daemon. */
export interface VmmProcess {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat, clock ticks since boot: tells the process from a later one with its number. */
  readonly startTime: string;
  /** Whether its memory is a private mapping of a base (a fork or a restored instance). */
  readonly privateMemory: boolean;
}

export interface AgentInfo {
  readonly version: string;
  readonly bootId: string;
  readonly kernelRelease: string;
}

/** Everything that is kept of an instance: a row in the database and `instance.json` in its folder. */
export interface Instance {
  readonly id: InstanceId;
  readonly name: string;
  readonly state: InstanceState;
  /** Why it is FAILED; empty otherwise. */
  readonly stateReason: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly imageId: ImageId;
  readonly driver: DriverName;
  /** How its disk is kept; from its creation on, and that of its forks and snapshots. */
  readonly storage: StorageName;
  readonly vcpus: number;
  readonly memoryBytes: number;
  /** Size of its disk as the guest sees it, and of its forks' and snapshots'. Absent in what was made before it was recorded. */
  readonly diskBytes?: number;
  readonly network: NetworkIdentity;
  readonly forkedFrom?: InstanceId;
  /** The snapshot it was forked from, where it was one; `forkedFrom` is then the instance that was taken of. */
  readonly forkedFromSnapshot?: SnapshotId;
  /** ISO 8601. */
  readonly createdAt: string;
  readonly vmm?: VmmProcess;
  readonly capture?: Capture;
  /**
   * Its memory was captured as somebody else's, or at a moment it may go on from more than once: its own identity, fresh
   * random bytes and the time still have to be handed to the guest when it resumes.
   */
  readonly identityPending?: true;
  /** Its files are being replaced by these, which lie complete in the `next` folder: what a new daemon finishes. */
  readonly replacing?: readonly string[];
  readonly agent?: AgentInfo;
}
