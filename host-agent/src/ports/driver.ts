import type { Duplex } from 'node:stream';
import type { Capture, MemoryRegion, VmmProcess } from '../domain/instance.js';
import type { CaptureStep, GoOnStep } from '../domain/operations.js';
import type { DriverCapabilities, DriverName } from '../domain/driver-capabilities.js';
import type { DiskFormat } from '../domain/storage-name.js';

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
  /** Why it lacks capabilities here that it has elsewhere; left out when it lacks none. */
  readonly capabilityReason?: string;
  /** What would make it available, where the configuration asks for it by more than a default; left out elsewhere. */
  readonly remedy?: string;
}

/** A TAP that is open already, or one to be opened by its name. */
export type TapKind = 'tap' | 'named-tap';

/** The host's end of an instance's network card. */
export type NicBackend =
  | { readonly kind: 'tap'; readonly descriptor: number }
  /** A TAP that nobody has open, for hypervisors that open it themselves. */
  | { readonly kind: 'named-tap'; readonly name: string }
  /** No card at all. */
  | { readonly kind: 'none' }
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
  readonly disk: {
    readonly path: string;
    readonly format: DiskFormat;
    /** A block device; a file unless said. */
    readonly isDevice?: boolean;
  };
  readonly nic: { readonly mac: string; readonly backend: NicBackend };
}

export interface LaunchSpec extends MachineSpec {
  readonly kernel: {
    /** Compressed, as distributions ship it (bzImage). */
    readonly vmlinuz: string;
    /** The same kernel as an ELF file. */
    readonly vmlinux: string;
    readonly initrd?: string;
    /** The driver adds what belongs to its machine. */
    readonly commandLine: string;
  };
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

/** Where a capture goes: absolute paths. Of a VM booted cold on a memory file of its own the memory stays in that. */
export interface CaptureTarget {
  readonly stateFile: string;
  readonly memoryFile: string;
}

export interface CaptureOptions<Step extends GoOnStep = GoOnStep> {
  /**
   * Called once within the pause, with the guest's disks at rest and written out: for what belongs to the same instant, as
   * the clones of its disks. It may run beside the driver's own work, always ends before the VM goes on, and its failure is
   * the capture's. Disk files may be locked by the VMM meanwhile or not.
   */
  readonly whilePaused?: () => Promise<void>;
  /** Told each step once it has been taken, for the journal; some of them within the pause. Must be quick, and never throw. */
  readonly onReached?: (step: Step) => void;
}

/** What a capture wrote. */
export interface CaptureResult {
  readonly stateFile: string;
  readonly stateSha256: string;
  readonly memoryFile: string;
  readonly regions: readonly MemoryRegion[];
  readonly driverVersion: string;
  readonly machineType: string;
  readonly cpuModel: string;
  readonly accelerator: string;
  /** From the pause to everything written, in milliseconds; for a snapshot, until the VM went on. */
  readonly pauseMs: number;
}

/** What forks of a VM that goes on are made from. */
export interface VmSnapshot {
  /** Its memory file does not change any more, whatever the VM does. */
  readonly capture: CaptureResult;
  /** The VM has a new VMM, hence another {@link Vm.process}, which belongs into its record. */
  readonly replaced: boolean;
}

/**
 * What made a VMM end in an orderly way: its guest powered off, reset the machine (which a VMM of ours does not do: it ends),
 * or panicked and said so; or somebody told the VMM to, by a signal or over its control socket.
 */
export type ShutdownCause = 'powered-off' | 'reset' | 'panicked' | 'told-to';

/** How a VMM ended. */
export interface VmExit {
  /** Exit status; null for one that a signal ended, or whose status nobody could be told. */
  readonly code: number | null;
  readonly signal: string | null;
  /** As the VMM said itself; undefined for one that ended without a word. */
  readonly cause?: ShutdownCause;
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
  /** The VMM that runs it now: another one after a {@link snapshot} that replaced it. */
  readonly process: VmmProcess;
  /**
   * Settles when the VM has ended, however that was; never rejects. Not when its VMM is replaced. Code 0 stands for an end
   * the VMM meant, as the guest's own power-off, also where the VMM is no child of this process.
   */
  readonly exited: Promise<VmExit>;
  /** Whether the guest's processors run, as the VMM says. */
  state(signal?: AbortSignal): Promise<'running' | 'paused'>;
  pause(signal?: AbortSignal): Promise<void>;
  resume(signal?: AbortSignal): Promise<void>;
  /**
   * Pauses, and writes device state and memory under the names given. A VM booted cold leaves its memory file, where it has
   * one, where it is, and must not run on while others use it; a private clone's base and private pages become a new file. The
   * VM stays paused: the caller resumes or ends it. On failure it runs on.
   */
  capture(target: CaptureTarget, options?: CaptureOptions<CaptureStep>, signal?: AbortSignal): Promise<CaptureResult>;
  /**
   * A capture that others may use while this VM goes on as it was, running or paused. A VM booted cold goes on in another
   * VMM, once, so that it no longer writes the file the others map; its connection to the guest's channel is then cut and can
   * be dialled again at once. On failure the VM goes on as well, in its old VMM unless only the capture's files failed after
   * the hand-over: see {@link process}.
   * @throws Unreachable with reason `VMM_GONE` when the VM itself was lost
   */
  snapshot(target: CaptureTarget, options?: CaptureOptions, signal?: AbortSignal): Promise<VmSnapshot>;
  /**
   * Puts an empty layer on top of the disk of a VM that runs or is paused, which does not notice: `file` takes all writes from
   * then on, and what took them so far does not change any more. Absolute path; on the disk's present file, by its header, and
   * never to be renamed while the VM lives. Whether a call that failed or was cancelled did it after all, {@link diskFile} says.
   */
  layDisk(file: string, signal?: AbortSignal): Promise<void>;
  /**
   * Lets the file that takes the disk's writes stand on another one, whose content is that of all it stands on now; the guest
   * does not notice. `file` is an absolute path in the same folder, never to be renamed while the VM lives, and stands on what
   * its header says. A call that failed or was cancelled may have done it or not: the header says which, and until then no
   * file may be removed that it names.
   */
  changeBacking(file: string, signal?: AbortSignal): Promise<void>;
  /** Absolute path of the file that takes the disk's writes now: the one given to {@link layDisk} last, or the one it was started with. */
  diskFile(signal?: AbortSignal): Promise<string>;
  openMemory(): Promise<GuestMemory>;
  /** Connects to the byte channel of the guest agent. One connection at a time. */
  dialGuest(signal?: AbortSignal): Promise<Duplex>;
  /**
   * Where the guest's connections to a vsock port of the host arrive, if anybody listens there: absolute path of a Unix socket.
   * Undefined where the hypervisor has no vsock.
   */
  hostPort(port: number): string | undefined;
  /** Ends the VMM and waits until it is gone. */
  kill(): Promise<void>;
  /** Closes the daemon's connections and leaves the VM running. */
  detach(): Promise<void>;
}

export interface HypervisorDriver {
  readonly name: DriverName;
  /** Disks it reads, what is best for it first. */
  readonly diskFormats: readonly DiskFormat[];
  /** How it takes a network card on the host's network. */
  readonly tapKind: TapKind;
  /** Looks once at what is there; later calls return the same. Never throws for a missing hypervisor. */
  probe(signal?: AbortSignal): Promise<DriverStatus>;
  /** Starts a VM from its kernel, running. @throws Unreachable with the end of the VMM's stderr when it dies at start */
  launch(spec: LaunchSpec, signal?: AbortSignal): Promise<Vm>;
  /** Starts a VMM on a capture, loaded and paused. @throws InvalidState when version, machine type, CPU model or accelerator differ from the capture's */
  restore(spec: RestoreSpec, signal?: AbortSignal): Promise<{ vm: Vm; timings: RestoreTimings }>;
  /**
   * Whether {@link restore} would take this capture, as far as that can be known without a VMM.
   * @throws InvalidState, Corrupt as that would
   */
  assertLoadable(capture: Capture, stateFile: string, signal?: AbortSignal): Promise<void>;
  /**
   * Takes a VMM over after a restart of the daemon; undefined when it is gone. When `process` was being replaced, that is
   * finished or undone first: the VM's {@link Vm.process} may be another one, which belongs into its record, and the VM may
   * be paused.
   */
  adopt(process: VmmProcess, spec: Omit<MachineSpec, 'nic'>, signal?: AbortSignal): Promise<Vm | undefined>;
}
