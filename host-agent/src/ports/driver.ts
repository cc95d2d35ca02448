import type { Duplex } from 'node:stream';
import type { Capture, MemoryRegion, VmmProcess } from '../domain/instance.js';
import type { DriverCapabilities, DriverName } from '../domain/driver-capabilities.js';

/** What a hypervisor is here, found by one probe at start. */
export interface DriverStatus {
  readonly name: DriverName;
  readonly available: boolean;
  /** Why not; empty when available. */
  readonly unavailableReason: string;
  readonly version: string;
  readonly accelerator: string;
  /** Why not a faster one; empty when there is none. */
  readonly acceleratorReason: string;
  readonly capabilities: DriverCapabilities;
}

/** The host's end of an instance's network card. */
export type NicBackend =
  | { readonly kind: 'tap'; readonly descriptor: number }
  | { readonly kind: 'user'; readonly subnet: string; readonly gateway: string };

/** What a VM is made of; the same for its launch and every restore, but for identity. Paths are absolute. */
export interface MachineSpec {
  /** The instance's folder: working directory of the VMM. */
  readonly directory: string;
  /** Sockets of the VMM; exists and is empty of stale ones. */
  readonly runDirectory: string;
  /** Console and VMM logs. */
  readonly logDirectory: string;
  readonly vcpus: number;
  readonly memoryBytes: number;
  /** Launch: does not exist yet. Restore: the base, mapped privately and never written. */
  readonly memoryFile: string;
  readonly disk: { readonly path: string; readonly format: 'qcow2' | 'raw' };
  readonly nic: { readonly mac: string; readonly backend: NicBackend };
}

export interface LaunchSpec extends MachineSpec {
  readonly kernel: { readonly vmlinuz: string; readonly initrd?: string; readonly commandLine: string };
}

export interface RestoreSpec extends MachineSpec {
  readonly capture: Capture;
  /** Device state, absolute. */
  readonly stateFile: string;
}

/** How long the parts of a restore took, in milliseconds. */
export interface RestoreTimings {
  /** Process started until it takes commands. */
  readonly spawnMs: number;
  /** Device state loaded. */
  readonly loadMs: number;
}

/** What a capture wrote. The VM stays paused: the caller resumes or ends it. */
export interface CaptureResult {
  readonly stateFile: string;
  readonly stateSha256: string;
  readonly memoryFile: string;
  readonly regions: readonly MemoryRegion[];
  readonly driverVersion: string;
  readonly machineType: string;
  readonly cpuModel: string;
  readonly accelerator: string;
  /** From the pause to everything written, in milliseconds. */
  readonly pauseMs: number;
}

/** How a VMM ended. */
export interface VmExit {
  readonly code: number | null;
  readonly signal: string | null;
  /** End of what it wrote to its own log. */
  readonly logTail: string;
}

/** The RAM of a paused VM. Addresses are guest-physical; reads and writes outside RAM are refused as InvalidInput. */
export interface GuestMemory extends AsyncDisposable {
  readonly regions: readonly MemoryRegion[];
  read(gpa: number, length: number): Promise<Buffer>;
  /** Writes into the VM's private pages; refused for a VM whose memory is not private. */
  write(gpa: number, bytes: Buffer): Promise<void>;
}

/** A VM under a VMM of its own, which outlives the daemon. */
export interface Vm {
  readonly process: VmmProcess;
  /** Settles when the VMM is gone, however it went. Never rejects. */
  readonly exited: Promise<VmExit>;
  pause(signal?: AbortSignal): Promise<void>;
  resume(signal?: AbortSignal): Promise<void>;
  /**
   * Pauses, and writes device state and memory into `directory` under the names given. A VM booted cold leaves its memory
   * file where it is; a private clone's base and private pages become a new file. On failure the VM runs on.
   */
  capture(target: { stateFile: string; memoryFile: string }, signal?: AbortSignal): Promise<CaptureResult>;
  openMemory(): Promise<GuestMemory>;
  /** Connects to the byte channel of the guest agent. One connection at a time. */
  dialGuest(signal?: AbortSignal): Promise<Duplex>;
  /** Ends the VMM and waits until it is gone. */
  kill(): Promise<void>;
  /** Closes the daemon's connections and leaves the VM running. */
  detach(): Promise<void>;
}

export interface HypervisorDriver {
  readonly name: DriverName;
  /** Looks once at what is there; later calls return the same. Never throws for a missing hypervisor. */
  probe(signal?: AbortSignal): Promise<DriverStatus>;
  /** Starts a VM from its kernel, running. @throws Unreachable with the end of the VMM's stderr when it dies at start */
  launch(spec: LaunchSpec, signal?: AbortSignal): Promise<Vm>;
  /** Starts a VMM on a capture, loaded and paused. @throws InvalidState when version, machine type, CPU model or accelerator differ from the capture's */
  restore(spec: RestoreSpec, signal?: AbortSignal): Promise<{ vm: Vm; timings: RestoreTimings }>;
  /** Takes a VMM over after a restart of the daemon; undefined when it is gone. */
  adopt(process: VmmProcess, spec: Omit<MachineSpec, 'nic'>, signal?: AbortSignal): Promise<Vm | undefined>;
}
