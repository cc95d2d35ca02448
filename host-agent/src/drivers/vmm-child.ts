import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fstatSync } from 'node:fs';
import { Unreachable, Unsupported, messageOf } from '@offshoot/shared/errors.js';
import { groupEnded, killGroup } from '../os/process-group.js';
import { startTimeOf, type ProcessIdentity } from '../os/process-identity.js';
import type { MachineSpec, VmExit } from '../ports/driver.js';
import { logTail, openLog, vmmLog } from './vmm-log.js';

export interface VmmCommand {
  /** Absolute. */
  readonly binary: string;
  readonly arguments: readonly string[];
  /** It works in `directory` and writes what it says to its log. */
  readonly spec: Pick<MachineSpec, 'directory' | 'logDirectory'>;
  /** What it inherits besides, under the numbers from {@link FIRST_INHERITED} on. */
  readonly descriptors?: readonly number[];
}

/** Number of the first descriptor that is handed down, after the standard streams. */
export const FIRST_INHERITED = 3;

/** A VMM that this process has started. */
export interface VmmChild {
  readonly identity: ProcessIdentity;
  readonly exited: Promise<VmExit>;
  /** Lets this process end before the VMM; `exited` is then no longer promised. */
  release(): void;
  /** Ends it, with what it has started itself on its way to being the VMM, and waits until it is gone. */
  end(): Promise<VmExit>;
}

/**
 * Starts a VMM in a session of its own, so that it outlives this process.
 * @throws Unsupported when the binary cannot be executed
 */
export async function startVmm({ binary, arguments: argv, spec, descriptors = [] }: VmmCommand): Promise<VmmChild> {
  const log = openLog(vmmLog(spec));
  let child: ChildProcess;
  let logStart: number;
  try {
    logStart = fstatSync(log).size;
    child = spawn(binary, argv, {
      cwd: spec.directory,
      detached: true,
      stdio: ['ignore', log, log, ...descriptors],
      env: { PATH: process.env.PATH },
    });
  } finally {
    closeSync(log);
  }
  if (child.pid === undefined) {
    const [error] = (await once(child, 'error')) as [Error];
    throw new Unsupported(`${binary} cannot be started: ${messageOf(error)}`, {
      reason: 'PROGRAM_MISSING',
      metadata: { program: binary },
      cause: error,
    });
  }
  const identity = { pid: child.pid, startTime: startTimeOf(child.pid) ?? '' };
  const exited = new Promise<VmExit>((resolve) => {
    child.once('exit', (code, signal) => {
      // Detached, it led a group of its own: of programs by which it was to become the VMM, and which are of no use now.
      killGroup(identity.pid);
      resolve({ code, signal, logTail: logTail(vmmLog(spec), logStart) });
    });
  });
  // What happens to a running child, such as a signal that cannot be sent, is told to whoever caused it.
  child.on('error', () => undefined);
  return {
    identity,
    exited,
    release: () => {
      child.unref();
    },
    end: async () => {
      if (child.exitCode === null && child.signalCode === null) killGroup(identity.pid);
      const exit = await exited;
      await groupEnded(identity.pid);
      return exit;
    },
  };
}

/** @param who the VMM's name in messages */
export function diedAtStart(who: string, exit: VmExit, cause: unknown): Unreachable {
  const how = exit.signal === null ? `exit code ${String(exit.code)}` : `signal ${exit.signal}`;
  return new Unreachable(`${who} died at start (${how}): ${exit.logTail || 'it wrote nothing to its log'}`, {
    reason: 'VMM_DIED_AT_START',
    metadata: { exitCode: String(exit.code), signal: exit.signal ?? '', logTail: exit.logTail },
    cause,
  });
}
