import type { MachineSpec } from '../../ports/driver.js';
import { SocketWatch } from '../http-api/socket-watch.js';
import { diedAtStart, startVmm, type VmmChild } from '../vmm-child.js';
import { startConsoleLog } from './console-log.js';
import { FirecrackerApi } from './firecracker-api.js';
import { seenFrom } from './machine-requests.js';
import type { VmmStart } from './vmm-program.js';
import { removeRemains } from './vmm-remains.js';
import { socketsOf } from './vmm-sockets.js';

/** A VMM that takes requests and has no VM yet. */
export interface FirecrackerProcess {
  readonly child: VmmChild;
  readonly api: FirecrackerApi;
}

/**
 * Starts a VMM and waits until it takes requests, which its socket's appearance tells. It limits its own system calls (seccomp)
 * by the filter it was built with; that of a build for the GNU C library, as against the releases for musl, allows all.
 * @throws Unreachable with the end of its log when it dies at start; Unsupported when the binary is missing; InvalidState
 *   `JAIL_FILE_DENIED`; the signal's reason.
 *   On failure no process is left, no socket and no jail.
 */
export async function startFirecracker(
  start: Pick<VmmStart<unknown>, 'command'>,
  spec: MachineSpec,
  signal: AbortSignal,
): Promise<FirecrackerProcess> {
  signal.throwIfAborted();
  const { api: socket } = socketsOf(spec);
  removeRemains(spec);
  startConsoleLog(spec);
  using watch = new SocketWatch(socket);
  const child = await startChild(start, spec, ['--api-sock', seenFrom(spec, socket)], signal);
  const died = new AbortController();
  void child.exited.then((exit) => {
    died.abort(diedAtStart('Firecracker', exit, undefined));
  });
  try {
    await watch.accepts(AbortSignal.any([signal, died.signal]));
    return { child, api: new FirecrackerApi(spec) };
  } catch (error) {
    await child.end();
    removeRemains(spec);
    throw error;
  }
}

async function startChild(
  start: Pick<VmmStart<unknown>, 'command'>,
  spec: MachineSpec,
  vmmArguments: readonly string[],
  signal: AbortSignal,
): Promise<VmmChild> {
  try {
    const command = await start.command(vmmArguments);
    signal.throwIfAborted();
    return await startVmm({ ...command, spec });
  } catch (error) {
    removeRemains(spec);
    throw error;
  }
}

/** Ends a VMM that came to nothing, and removes what it leaves. @returns how it ended, by itself or by this */
export async function endFirecracker(
  { child, api }: FirecrackerProcess,
  spec: MachineSpec,
): ReturnType<VmmChild['end']> {
  const exit = await child.end();
  await api.close();
  removeRemains(spec);
  return exit;
}
