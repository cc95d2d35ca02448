import { closeSync, constants, openSync, rmSync } from 'node:fs';
import { symlink } from 'node:fs/promises';
import { makeFifo } from '../../os/libc.js';
import { openListeningSocket } from '../../os/listening-socket.js';
import type { MachineSpec, VmExit } from '../../ports/driver.js';
import { FIRST_INHERITED, diedAtStart, startVmm, type VmmChild } from '../vmm-child.js';
import { CloudHypervisorApi } from './cloud-hypervisor-api.js';
import type { InheritedDescriptors } from './command-line.js';
import { ConsoleLog, type GuestConsole } from './console-log.js';
import { filesOf, removeFiles } from './vmm-files.js';
import { VmmEvents, type VmmEvent } from './vmm-events.js';

/** A VMM of ours with its VM, booted or loaded. */
export interface CloudHypervisorProcess {
  readonly child: VmmChild;
  readonly api: CloudHypervisorApi;
  readonly events: VmmEvents;
  readonly console: GuestConsole;
  /** When it was loaded itself, and began with the VM: `performance.now()`. */
  readonly startedAt: number;
}

export interface StartOptions {
  readonly binary: string;
  readonly spec: Pick<MachineSpec, 'directory' | 'runDirectory' | 'logDirectory' | 'nic'>;
  readonly arguments: (inherited: InheritedDescriptors) => readonly string[];
  /** What it says when its VM is there. */
  readonly ready: VmmEvent;
  /** The error when it had begun, and ended before that. Left out, it died at start. */
  readonly refused?: (exit: VmExit) => Error;
}

/**
 * Starts a VMM in a session of its own and waits until it says that its VM is there. Everything it is to do stands on its
 * command line, because descriptors it cannot be given otherwise but along with a request; and it does nothing twice.
 * @throws Unreachable `VMM_DIED_AT_START` with the end of its log when it ends instead; Unsupported when the binary cannot be
 *   executed; the signal's reason. On failure neither process nor files in the run directory are left, but the snapshot.
 */
export async function startCloudHypervisor(
  { binary, spec, arguments: argumentsFor, ready, refused = died }: StartOptions,
  signal: AbortSignal,
): Promise<CloudHypervisorProcess> {
  signal.throwIfAborted();
  const files = filesOf(spec);
  const { backend } = spec.nic;
  for (const stale of [files.events, files.serial, files.vsock]) rmSync(stale, { force: true });
  const owned: number[] = [];
  let child: VmmChild;
  let events: VmmEvents | undefined;
  try {
    const api = openListeningSocket(files.api);
    owned.push(api);
    makeFifo(files.events, 0o600);
    // Open for both: writing never fails then for want of a reader, and there is a writer before ours reads.
    const fifo = openSync(files.events, constants.O_RDWR);
    owned.push(fifo);
    events = VmmEvents.of(files.events);
    const tap = backend.kind === 'tap' ? [backend.descriptor] : [];
    const inherited = { api: FIRST_INHERITED, events: FIRST_INHERITED + 1 };
    child = await startVmm({
      binary,
      arguments: argumentsFor(tap.length === 0 ? inherited : { ...inherited, tap: FIRST_INHERITED + 2 }),
      spec,
      descriptors: [api, fifo, ...tap],
    });
  } catch (error) {
    events?.close();
    removeFiles(spec);
    throw error;
  } finally {
    for (const descriptor of owned) closeSync(descriptor);
  }
  try {
    if (!(await events.said('vmm starting', signal))) throw died(await child.exited);
    const startedAt = performance.now();
    if (!(await events.said(ready, signal))) throw refused(await child.exited);
    const console = await ConsoleLog.of(files.serial, spec, signal);
    return { child, api: new CloudHypervisorApi(spec), events, console, startedAt };
  } catch (error) {
    await child.end();
    events.close();
    removeFiles(spec);
    throw error;
  }
}

const died = (exit: VmExit): Error => diedAtStart('Cloud Hypervisor', exit, undefined);

/** Ends a VMM that came to nothing, and removes what it leaves. */
export async function endCloudHypervisor(
  vmm: CloudHypervisorProcess,
  spec: Pick<MachineSpec, 'runDirectory'>,
): Promise<void> {
  await vmm.child.end();
  vmm.events.close();
  vmm.console.close();
  await vmm.api.close();
  removeFiles(spec);
}

/**
 * Lets a VM boot from a kernel that is there only meanwhile. A guest that resets the machine would otherwise be booted anew by
 * Cloud Hypervisor, in memory that is full of what was there before; without its kernel that fails, and the VMM ends.
 */
export async function withKernel<T>(
  spec: Pick<MachineSpec, 'runDirectory'>,
  vmlinux: string,
  boot: () => Promise<T>,
): Promise<T> {
  const { kernel } = filesOf(spec);
  rmSync(kernel, { force: true });
  await symlink(vmlinux, kernel);
  try {
    return await boot();
  } finally {
    rmSync(kernel, { force: true });
  }
}
