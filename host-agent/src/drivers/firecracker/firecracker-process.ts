import type { MachineSpec } from '../../ports/driver.js';
import { SocketWatch } from '../http-api/socket-watch.js';
import { diedAtStart, startVmm, type VmmChild } from '../vmm-child.js';
import { startConsoleLog } from './console-log.js';
import { FirecrackerApi } from './firecracker-api.js';
import { seenFrom } from './machine-requests.js';
import { removeSockets, socketsOf } from './vmm-sockets.js';

type Folders = Pick<MachineSpec, 'directory' | 'runDirectory' | 'logDirectory'>;

/** A VMM that takes requests and has no VM yet. */
export interface FirecrackerProcess {
  readonly child: VmmChild;
  readonly api: FirecrackerApi;
}

/**
 * Starts a VMM and waits until it takes requests, which its socket's appearance tells. It limits its own system calls (seccomp)
 * by the filter it was built with; that of a build for the GNU C library, as against the releases for musl, allows all.
 * @throws Unreachable with the end of its log when it dies at start; Unsupported when the binary is missing; the signal's reason.
 *   On failure neither process nor sockets are left.
 */
export async function startFirecracker(
  binary: string,
  spec: Folders,
  signal: AbortSignal,
): Promise<FirecrackerProcess> {
  signal.throwIfAborted();
  const { api: socket } = socketsOf(spec);
  removeSockets(spec);
  startConsoleLog(spec);
  using watch = new SocketWatch(socket);
  const child = await startVmm({ binary, arguments: ['--api-sock', seenFrom(spec, socket)], spec });
  const died = new AbortController();
  void child.exited.then((exit) => {
    died.abort(diedAtStart('Firecracker', exit, undefined));
  });
  try {
    await watch.accepts(AbortSignal.any([signal, died.signal]));
    return { child, api: new FirecrackerApi(spec) };
  } catch (error) {
    await child.end();
    removeSockets(spec);
    throw error;
  }
}

/** Ends a VMM that came to nothing, and removes what it leaves. @returns how it ended, by itself or by this */
export async function endFirecracker({ child, api }: FirecrackerProcess, spec: Folders): ReturnType<VmmChild['end']> {
  const exit = await child.end();
  await api.close();
  removeSockets(spec);
  return exit;
}
