import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { SessionStream, type RawChannel } from '@offshoot/shared/channel/session-stream.js';
import { NO_SESSION, WireDecoder, encodeSync, newSessionId } from '@offshoot/shared/channel/wire.js';
import { messageOf } from '@offshoot/shared/errors.js';
import type { Logger } from 'pino';

export interface SessionChannelEvents {
  /** The guest answered: a session begins, and the one before is over. */
  onSession(stream: SessionStream): void;
  /** The session is over; another follows by itself. */
  onLost(reason: string): void;
  /** The VMM is gone: no session will follow. */
  onGone(cause: unknown): void;
}

/**
 * A sync not answered in this time is sent again: the guest is still booting, or its agent died. A marker is 32 bytes and
 * wakes the agent, so this is also what finds a delivery whose first wake was lost.
 */
const SYNC_RETRY_MS = 1000;
const FIRST_BACKOFF_MS = 10;
/** A guest on vsock that boots hangs up until its agent listens: how much later than that it is heard. */
const MAX_BACKOFF_MS = 250;

/**
 * The raw byte channel of one VM: open and drained for as long as the VM lives (a guest that writes into a port nobody
 * reads is stuck), dialled again when it breaks, with at most one session on it.
 */
export class SessionChannel {
  private raw: Duplex | undefined;
  private readonly decoder: WireDecoder;
  /** Id of the session asked for or running. */
  private session = newSessionId();
  private stream: SessionStream | undefined;
  private retry: NodeJS.Timeout | undefined;
  private beganAt = 0;
  private backoffMs = FIRST_BACKOFF_MS;
  private dialling = false;
  private readonly closing = new AbortController();

  constructor(
    private readonly dial: (signal?: AbortSignal) => Promise<Duplex>,
    private readonly events: SessionChannelEvents,
    private readonly logger: Logger,
  ) {
    this.decoder = new WireDecoder({
      onSync: (session) => {
        this.takeAnswer(session);
      },
      onData: (payload) => this.stream?.receive(payload),
      onEnd: () => this.stream?.receiveEnd(),
      onCorrupt: (error) => {
        this.lose(error.message);
      },
    });
  }

  /** Dials and begins the first session. Rejects with what the dialler rejects with. */
  async open(signal?: AbortSignal): Promise<void> {
    const closing = this.closing.signal;
    this.dialling = true;
    try {
      this.attach(await this.dial(signal === undefined ? closing : AbortSignal.any([signal, closing])));
    } finally {
      this.dialling = false;
    }
  }

  /** Begins a session: the marker is handed to the raw channel before this returns, or when it is connected. */
  beginSession(): void {
    this.lose('a new session begins');
    clearTimeout(this.retry);
    if (this.closing.signal.aborted) return;
    if (this.raw === undefined) {
      void this.redial();
      return;
    }
    this.session = newSessionId();
    this.beganAt = performance.now();
    this.raw.write(encodeSync(this.session));
    this.beginLater(SYNC_RETRY_MS);
  }

  /** Gives the session up; the next one begins after `delayMs`. */
  restart(reason: string, delayMs: number): void {
    this.lose(reason);
    this.beginLater(delayMs);
  }

  close(): void {
    this.closing.abort();
    clearTimeout(this.retry);
    this.lose('closed');
    this.raw?.destroy();
    this.raw = undefined;
  }

  private attach(raw: Duplex): void {
    if (this.closing.signal.aborted) {
      raw.destroy();
      return;
    }
    this.raw = raw;
    raw.on('data', (chunk: Buffer) => {
      this.decoder.push(chunk);
    });
    raw.on('error', (error) => {
      this.logger.debug({ err: error }, 'guest channel failed');
    });
    raw.on('end', () => raw.destroy());
    raw.once('close', () => {
      if (this.raw !== raw) return;
      this.raw = undefined;
      this.lose('the channel broke');
      void this.redial();
    });
    this.beginSession();
  }

  private async redial(): Promise<void> {
    if (this.dialling) return;
    this.dialling = true;
    const signal = this.closing.signal;
    const wait = this.backoffMs;
    this.backoffMs = Math.min(2 * wait, MAX_BACKOFF_MS);
    try {
      await delay(wait, undefined, { signal, ref: false });
      const raw = await this.dial(signal);
      this.dialling = false;
      this.attach(raw);
    } catch (error) {
      this.dialling = false;
      if (signal.aborted) return;
      this.logger.debug({ reason: messageOf(error) }, 'guest channel is gone');
      this.close();
      this.events.onGone(error);
    }
  }

  private takeAnswer(session: string): void {
    if (session === NO_SESSION) {
      // An agent that just started. Answered at once, but not more often than the retry would: it may lie.
      const wait = this.beganAt + SYNC_RETRY_MS - performance.now();
      if (wait <= 0) this.beginSession();
      else this.restart('the agent started anew', wait);
      return;
    }
    this.lose('superseded');
    if (session !== this.session) return; // the answer to an earlier sync
    clearTimeout(this.retry);
    this.backoffMs = FIRST_BACKOFF_MS;
    const stream = new SessionStream(this.rawChannelFor(session));
    stream.on('error', (error) => {
      this.logger.debug({ err: error }, 'guest session failed');
    });
    stream.once('close', () => {
      if (this.stream !== stream) return;
      this.lose('the session ended');
      this.beginLater(SYNC_RETRY_MS);
    });
    this.stream = stream;
    this.events.onSession(stream);
  }

  private lose(reason: string): void {
    const stream = this.stream;
    if (stream === undefined) return;
    this.stream = undefined;
    stream.destroy();
    this.events.onLost(reason);
    this.beginLater(SYNC_RETRY_MS);
  }

  private beginLater(delayMs: number): void {
    clearTimeout(this.retry);
    if (this.closing.signal.aborted) return;
    this.retry = setTimeout(() => {
      // Markers the guest has not taken yet will do: a VM paused for a day must not find a day's worth of them.
      if (this.raw?.writableLength === 0) this.beginSession();
      else this.beginLater(SYNC_RETRY_MS);
    }, delayMs);
    this.retry.unref();
  }

  /** What a session stream may do with the raw channel: only as long as the session is the current one. */
  private rawChannelFor(session: string): RawChannel {
    const raw = this.raw;
    return {
      write: (buffers, done) => {
        if (raw === undefined || this.raw !== raw || this.session !== session) {
          done(new Error('the session is over'));
          return;
        }
        raw.cork();
        buffers.forEach((buffer, i) => {
          if (i === buffers.length - 1) raw.write(buffer, done);
          else raw.write(buffer);
        });
        raw.uncork();
      },
      pauseReading: () => {
        if (this.session === session) raw?.pause();
      },
      resumeReading: () => {
        if (this.session === session) raw?.resume();
      },
    };
  }
}
