import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { Unreachable, messageOf } from '@offshoot/shared/errors.js';

const ACCEPTED = /^OK \d{1,10}$/;
/** More than fits into such an answer. */
const MAX_ANSWER_BYTES = 16;

const unreachable = (port: number, why: string, cause?: unknown): Unreachable =>
  new Unreachable(`port ${String(port)} of the guest cannot be reached: ${why}`, {
    reason: 'CHANNEL_UNREACHABLE',
    metadata: { port: String(port) },
    cause,
  });

/**
 * Connects to the Unix socket on which Firecracker and Cloud Hypervisor offer a guest's vsock; the guest hears nothing of that.
 * @param port in the guest, for the error
 * @throws Unreachable `CHANNEL_UNREACHABLE` when there is no VMM; the signal's reason
 */
export async function connectVsock(path: string, port: number, signal?: AbortSignal): Promise<Socket> {
  signal?.throwIfAborted();
  const socket = connect({ path });
  try {
    await once(socket, 'connect', signal === undefined ? {} : { signal });
    return socket;
  } catch (error) {
    socket.destroy();
    signal?.throwIfAborted();
    throw unreachable(port, messageOf(error), error);
  }
}

/**
 * Asks the guest to accept the connection on a port: `CONNECT <port>` is answered `OK <port of this side>` once it has, and
 * with a hang-up when nobody there listens. (Firecracker's docs/vsock.md, "Host-Initiated Connections".)
 * @throws Unreachable `CHANNEL_UNREACHABLE`; the signal's reason, also when the guest never answers
 */
export async function requestPort(socket: Socket, port: number, signal?: AbortSignal): Promise<void> {
  if (socket.destroyed) throw unreachable(port, 'the VMM hung up');
  try {
    socket.write(`CONNECT ${String(port)}\n`);
    const answer = await firstLine(socket, signal);
    if (!ACCEPTED.test(answer)) throw unreachable(port, `the VMM answered ${JSON.stringify(answer)}`);
  } catch (error) {
    signal?.throwIfAborted();
    throw error instanceof Unreachable ? error : unreachable(port, messageOf(error), error);
  }
}

/** The line without its end; what follows it stays in the socket, paused. */
async function firstLine(socket: Socket, signal: AbortSignal | undefined): Promise<string> {
  const ended = new AbortController();
  const end = (): void => {
    ended.abort(new Error('the VMM hung up: nobody listens there'));
  };
  socket.once('close', end);
  const until = signal === undefined ? ended.signal : AbortSignal.any([signal, ended.signal]);
  let line = Buffer.alloc(0);
  try {
    for (;;) {
      const chunk = socket.read() as Buffer | null;
      if (chunk === null) {
        await once(socket, 'readable', { signal: until });
        continue;
      }
      line = Buffer.concat([line, chunk]);
      const newline = line.indexOf(10);
      if (newline >= 0) {
        if (newline + 1 < line.length) socket.unshift(line.subarray(newline + 1));
        return line.subarray(0, newline).toString('latin1');
      }
      if (line.length > MAX_ANSWER_BYTES) return line.toString('latin1');
    }
  } catch (error) {
    until.throwIfAborted();
    throw error;
  } finally {
    socket.off('close', end);
  }
}
