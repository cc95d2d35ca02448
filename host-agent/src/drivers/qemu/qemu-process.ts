import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { Unreachable, Unsupported, errnoOf, messageOf } from '@offshoot/shared/errors.js';
import { openListeningSocket } from '../../os/listening-socket.js';
import { killProcess, startTimeOf, type ProcessIdentity } from '../../os/process-identity.js';
import type { MachineSpec, VmExit } from '../../ports/driver.js';
import type { InheritedDescriptors } from './command-line.js';
import { QmpClient } from './qmp-client.js';
import { shutdownCause } from './shutdown-cause.js';
import { logTail } from './vmm-log.js';
import { removeSockets, socketsOf, type VmmSockets } from './vmm-sockets.js';

export const vmmLog = (spec: Pick<MachineSpec, 'logDirectory'>): string => join(spec.logDirectory, 'vmm.log');

/** A VMM of ours that takes commands. */
export interface QemuProcess {
  readonly identity: ProcessIdentity;
  readonly qmp: QmpClient;
  readonly exited: Promise<VmExit>;
  /** Lets this process end before the VMM; `exited` is then no longer promised. */
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
 * Starts a VMM in a session of its own and waits until it takes commands. Its sockets are made here and handed down
 * listening, so that the connection can be made before QEMU has even been loaded, and its greeting is the event waited for.
 * @throws Unreachable with the end of its log when it dies at start; Unsupported when the binary is missing; the signal's reason.
 *   On failure neither process nor sockets are left.
 */
export async function startQemu(options: StartOptions, signal?: AbortSignal): Promise<QemuProcess> {
  const { spec, tapDescriptor } = options;
  const sockets = options.sockets ?? socketsOf(spec);
  signal?.throwIfAborted();
  const owned: number[] = [];
  let child: ChildProcess;
  let logStart: number;
  try {
    const keep = (fd: number): number => {
      owned.push(fd);
      return fd;
    };
    const log = keep(openSync(vmmLog(spec), constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT, 0o640));
    logStart = fstatSync(log).size;
    // Made here, not by QEMU, whose mode would depend on the daemon's umask.
    keep(
      openSync(
        join(spec.logDirectory, 'console.log'),
        constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT,
        0o640,
      ),
    );
    const stdio: (number | 'ignore')[] = ['ignore', log, log];
    const hand = (fd: number): number => stdio.push(fd) - 1;
    const qmp = hand(keep(openListeningSocket(sockets.qmp)));
    const channel = hand(keep(openListeningSocket(sockets.channel)));
    const tap = tapDescriptor === undefined ? {} : { tap: hand(tapDescriptor) };
    const state = options.stateDescriptor === undefined ? -1 : hand(options.stateDescriptor);
    child = spawn(options.binary, options.arguments({ qmp, channel, ...tap, state }), {
      cwd: spec.directory,
      detached: true,
      stdio,
      env: { PATH: process.env.PATH },
    });
  } catch (error) {
    removeSockets(sockets);
    throw error;
  } finally {
    for (const fd of owned) closeSync(fd);
  }

  const exited = exitOf(child, () => logTail(vmmLog(spec), logStart));
  const identity = {
    pid: child.pid ?? 0,
    startTime: (child.pid === undefined ? undefined : startTimeOf(child.pid)) ?? '',
  };
  try {
    const qmp = await takesCommands(sockets.qmp, child, exited, signal);
    const release = (): void => {
      child.unref();
    };
    return { identity, qmp, exited: withCause(exited, qmp), release };
  } catch (error) {
    if (child.pid !== undefined) {
      killProcess(identity);
      await exited;
    }
    removeSockets(sockets);
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'EACCES')
      throw new Unsupported(`${options.binary} cannot be started: ${messageOf(error)}`, {
        reason: 'PROGRAM_MISSING',
        metadata: { program: options.binary },
        cause: error,
      });
    throw error;
  }
}

function exitOf(child: ChildProcess, tail: () => string): Promise<VmExit> {
  return new Promise((resolve) => {
    child.once('exit', (code, signal) => {
      resolve({ code, signal, logTail: tail() });
    });
    child.once('error', (error) => {
      if (child.pid === undefined) resolve({ code: null, signal: null, logTail: error.message });
    });
  });
}

/** A VMM says why it ends before it does; its control socket closes with it. */
async function withCause(exited: Promise<VmExit>, qmp: QmpClient): Promise<VmExit> {
  const exit = await exited;
  const { shutdown } = await qmp.closed;
  return { ...exit, ...shutdownCause(shutdown) };
}

async function takesCommands(
  socket: string,
  child: ChildProcess,
  exited: Promise<VmExit>,
  signal: AbortSignal | undefined,
): Promise<QmpClient> {
  if (child.pid === undefined) {
    const [error] = (await once(child, 'error')) as [Error];
    throw error;
  }
  try {
    return await QmpClient.connect(socket, signal);
  } catch (error) {
    if (!(error instanceof Unreachable)) throw error;
    // Hung up on: it is dying, or has turned its back on us and has to.
    child.kill('SIGKILL');
    throw diedAtStart(await exited, error);
  }
}

export function diedAtStart(exit: VmExit, cause: unknown): Unreachable {
  const how = exit.signal === null ? `exit code ${String(exit.code)}` : `signal ${exit.signal}`;
  return new Unreachable(`QEMU died at start (${how}): ${exit.logTail || 'it wrote nothing to its log'}`, {
    reason: 'VMM_DIED_AT_START',
    metadata: { exitCode: String(exit.code), signal: exit.signal ?? '', logTail: exit.logTail },
    cause,
  });
}
