import { createSocket } from 'node:dgram';
import { setTimeout as delay } from 'node:timers/promises';
import { parseAckOk } from '@offshoot/shared/mailbox/ack-line.js';
import type { AckRoute } from '@offshoot/shared/mailbox/frame.js';
import { defaultGateway } from '@offshoot/shared/default-gateway.js';

/** A datagram sent right after an address change is lost without an error, and the first often is: hence the repeats. */
const FIRST_PAUSE_MS = 5;
const MAX_PAUSE_MS = 1000;

/** Sends the line again and again; resolves with whether the host confirmed it in time. */
export async function sendUntilConfirmed(line: string, route: AckRoute, timeoutMs: number): Promise<boolean> {
  const heard = new AbortController();
  const socket = createSocket('udp4');
  socket.on('error', () => undefined); // a datagram lost
  socket.on('message', (datagram) => {
    if (parseAckOk(datagram) === route.nonce) heard.abort();
  });
  const deadline = performance.now() + timeoutMs;
  try {
    for (let pause = FIRST_PAUSE_MS; performance.now() < deadline; pause = Math.min(2 * pause, MAX_PAUSE_MS)) {
      const address = addressOf(route);
      if (address !== undefined) socket.send(line, route.port, address, () => undefined);
      const left = Math.min(pause, deadline - performance.now());
      await delay(left, undefined, { signal: heard.signal }).catch(() => undefined);
      if (heard.signal.aborted) return true;
    }
    return false;
  } finally {
    socket.close();
  }
}

/** Looked up each time: the route may come with the fork's identity, which is not in force yet. */
function addressOf({ address }: AckRoute): string | undefined {
  if (address !== '0.0.0.0') return address;
  try {
    return defaultGateway();
  } catch {
    return undefined; // no /proc
  }
}
