import { setMaxListeners } from 'node:events';
import type { Socket } from 'node:net';
import { InvalidInput, OffshootError, messageOf } from '@offshoot/shared/errors.js';
import type { LocalCalls } from './local-calls.js';
import { MAX_REQUEST_BYTES, idOf, parseLocalRequest, type LocalAnswer } from './local-protocol.js';

/** Requests one client may have unanswered; more are refused. */
const MAX_PENDING = 16;
/** Bytes of answers a client may leave unread before nothing more is taken from it; one can be 320 KiB. */
const MAX_UNREAD = 64 * 1024;
const NEWLINE = 0x0a;

/** One client of the local interface. Requests are served side by side; what it armed stays when it goes, what it attached does not. */
export class LocalConnection {
  private rest: Buffer = Buffer.alloc(0);
  private pending = 0;
  private readonly gone = new AbortController();

  constructor(
    private readonly socket: Socket,
    private readonly calls: LocalCalls,
  ) {
    setMaxListeners(0, this.gone.signal); // each unanswered request listens: that is no leak
    socket.on('data', (chunk: Buffer) => {
      this.take(chunk);
    });
    socket.on('error', () => undefined); // the client went away; `close` follows
    socket.on('drain', () => socket.resume());
    socket.once('close', () => {
      this.gone.abort();
    });
  }

  private take(chunk: Buffer): void {
    let bytes = Buffer.concat([this.rest, chunk]);
    for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE)) {
      const line = bytes.subarray(0, end);
      bytes = bytes.subarray(end + 1);
      if (line.length > MAX_REQUEST_BYTES) {
        this.refuseLine();
        return;
      }
      void this.serve(line.toString('utf8'));
    }
    this.rest = Buffer.from(bytes);
    if (this.rest.length > MAX_REQUEST_BYTES) this.refuseLine();
  }

  private refuseLine(): void {
    this.answer(failure(null, InvalidInput.field('request', `must be at most ${String(MAX_REQUEST_BYTES)} bytes`)));
    this.socket.destroySoon();
  }

  private async serve(line: string): Promise<void> {
    let value: unknown;
    this.pending += 1;
    try {
      value = parseJson(line);
      if (this.pending > MAX_PENDING)
        throw InvalidInput.field('request', `at most ${String(MAX_PENDING)} may be unanswered`, 'TOO_MANY_REQUESTS');
      const result = await this.calls.serve(parseLocalRequest(value), this.gone.signal);
      this.answer({ id: idOf(value), ok: true, ...result });
    } catch (error) {
      this.answer(failure(idOf(value), error));
    } finally {
      this.pending -= 1;
    }
  }

  private answer(answer: LocalAnswer): void {
    if (this.socket.destroyed) return;
    this.socket.write(`${JSON.stringify(answer)}\n`);
    if (this.socket.writableLength > MAX_UNREAD) this.socket.pause();
  }
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch (error) {
    throw new InvalidInput('request: not JSON', { reason: 'INVALID_FIELD', cause: error });
  }
}

function failure(id: string | number | null, error: unknown): LocalAnswer {
  const [kind, reason] = error instanceof OffshootError ? [error.kind, error.reason] : ['Internal', 'DEFECT'];
  return { id, ok: false, error: { kind, reason, message: messageOf(error) } };
}
