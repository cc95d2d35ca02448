import { closeSync } from 'node:fs';
import { Unreachable } from '@offshoot/shared/errors.js';
import { openListeningSocket } from '../../os/listening-socket.js';
import type { ProcessIdentity } from '../../os/process-identity.js';
import type { MachineSpec, VmExit } from '../../ports/driver.js';
import { FIRST_INHERITED, diedAtStart, startVmm, type VmmChild } from '../vmm-child.js';
import { consoleLog, openLog } from '../vmm-log.js';
import type { InheritedDescriptors } from './command-line.js';
import { QmpClient } from './qmp-client.js';
import { shutdownCause } from './shutdown-cause.js';
import { removeSockets, socketsOf, type VmmSockets } from './vmm-sockets.js';

/** A VMM of ours that takes commands. */
export interface QemuProcess {
  readonly identity: ProcessIdentity;
  readonly qmp: QmpClient;
  readonly exited: Promise<VmExit>;
  /** See {@link VmmChild.release}. */
  release(): void;
}

export interface StartOptions {
  readonly binary: string;
  readonly spec: Pick<MachineSpec, 'directory' | 'runDirectory' | 'logDirectory'>;
  /** The usual names when left out. */
  readonly sockets?: VmmSockets;
  /** Further descriptors to hand down; the VMM sees them under the numbers given to `arguments`. */
  readonly tapDescriptor?: number;
  readonly stateDescriptor?: number;
  arguments(inherited: InheritedDescriptors & { readonly state: number }): readonly string[];
}

/**
 * Starts a VMM and waits until it takes commands. Its sockets are made here and handed down listening, so that the connection
 * can be made before QEMU has even been loaded, and its greeting is the event waited for.
 * @throws Unreachable with the end of its log when it dies at start; Unsupported when the binary is missing; the signal's reason.
 *   On failure neither process nor sockets are left.
 */
export async function startQemu(options: StartOptions, signal?: AbortSignal): Promise<QemuProcess> {
  signal?.throwIfAborted();
  const sockets = options.sockets ?? socketsOf(options.spec);
  try {
    const child = await spawnQemu(options, sockets);
    try {
      const qmp = await takesCommands(sockets.qmp, child, signal);
      const release = (): void => {
        child.release();
      };
      return { identity: child.identity, qmp, exited: withCause(child.exited, qmp), release };
    } catch (error) {
      await child.end();
      throw error;
    }
  } catch (error) {
    removeSockets(sockets);
    throw error;
  }
}

async function spawnQemu(options: StartOptions, sockets: VmmSockets): Promise<VmmChild> {
  const { binary, spec, tapDescriptor, stateDescriptor } = options;
  const owned: number[] = [];
  const keep = (fd: number): number => {
    owned.push(fd);
    return fd;
  };
  const descriptors: number[] = [];
  const hand = (fd: number): number => FIRST_INHERITED + descriptors.push(fd) - 1;
  try {
    keep(openLog(consoleLog(spec)));
    const qmp = hand(keep(openListeningSocket(sockets.qmp)));
    const channel = hand(keep(openListeningSocket(sockets.channel)));
    const tap = tapDescriptor === undefined ? {} : { tap: hand(tapDescriptor) };
    const state = stateDescriptor === undefined ? -1 : hand(stateDescriptor);
    const argv = options.arguments({ qmp, channel, ...tap, state });
    return await startVmm({ binary, arguments: argv, spec, descriptors });
  } finally {
    for (const fd of owned) closeSync(fd);
  }
}

/** A VMM says why it ends before it does; its control socket closes with it. */
async function withCause(exited: Promise<VmExit>, qmp: QmpClient): Promise<VmExit> {
  const exit = await exited;
  const { shutdown } = await qmp.closed;
  return { ...exit, ...shutdownCause(shutdown) };
}

async function takesCommands(socket: string, child: VmmChild, signal: AbortSignal | undefined): Promise<QmpClient> {
  try {
    return await QmpClient.connect(socket, signal);
  } catch (error) {
    if (!(error instanceof Unreachable)) throw error;
    // Hung up on: it is dying, or has turned its back on us and has to.
    throw diedAtStart('QEMU', await child.end(), error);
  }
}
