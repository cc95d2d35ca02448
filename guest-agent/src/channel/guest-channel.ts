import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { SessionStream, type RawChannel } from '@offshoot/shared/channel/session-stream.js';
import { NO_SESSION, WireDecoder, encodeSync } from '@offshoot/shared/channel/wire.js';
import { messageOf } from '@offshoot/shared/errors.js';
import { log } from '../log.js';
import type { ByteConnection, ByteSource } from './byte-source.js';

export interface GuestChannelEvents {
  /** Bytes arrived: the host may have written into our memory. Called before they are looked at; says whether it had. */
  onWake(): boolean;
  /** The host begins a session; the one before is over. */
  onSync(): void;
  /** A session spoke its first bytes. Called once per session. */
  onSession(stream: Duplex): void;
}

interface PendingWrite {
  readonly buffers: readonly Buffer[];
  /** Whether somebody still wants it written. */
  readonly live: () => boolean;
  readonly done: (error?: Error | null) => void;
}

/** How long to wait when no host is connected, or the device fails. The only timer, and only then. */
const RETRY_MS = 1000;
const READ_BYTES = 64 * 1024;

/** The agent's end of the byte channel: answers each sync and hands the newest session out as a stream. */
export class GuestChannel {
  private readonly decoder: WireDecoder;
  private readonly buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  private connection: ByteConnection | undefined;
  private stream: SessionStream | undefined;
  /** Of a session that is over, until the next one speaks; see {@link retire}. */
  private readonly retired = new Set<SessionStream>();
  /** A session is handed out at its first bytes: of many syncs heard at once, only the last one's will speak. */
  private handedOut = false;
  private queue: PendingWrite[] = [];
  /** What retired sessions wanted to say, and will be told that they cannot. */
  private readonly unsent: PendingWrite[] = [];
  private writing = false;
  private paused: { promise: Promise<void>; resume: () => void } | undefined;
  private readonly drained = new Set<() => void>();

  constructor(
    private readonly source: ByteSource,
    private readonly events: GuestChannelEvents,
  ) {
    this.decoder = new WireDecoder({
      onSync: (session) => {
        this.begin(session);
      },
      onData: (payload) => {
        this.receive(payload);
      },
      onEnd: () => this.stream?.receiveEnd(),
      onCorrupt: (error) => {
        log(error.message);
        this.stream?.destroy();
      },
    });
  }

  /** Serves the channel until the signal ends. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        const connection = await this.source.open();
        this.connection = connection;
        if (connection.outlivesAgent) this.announce();
        // The host has come: what it may have written into our memory need not wait until it speaks.
        else this.events.onWake();
        await this.readAll(connection, signal);
        await this.hangUp();
      } catch (error) {
        log(`channel: ${messageOf(error)}`);
        await this.disconnect();
        await pause(RETRY_MS, signal);
      }
    }
  }

  /** Resolves when everything written so far is with the host. */
  flushed(): Promise<void> {
    if (!this.writing && this.queue.length === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.drained.add(resolve);
    });
  }

  /** Ends with the connection. */
  private async readAll(connection: ByteConnection, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.paused?.promise;
      const count = await connection.read(this.buffer);
      if (count === undefined) return;
      if (count === 0) {
        await pause(RETRY_MS, signal);
        continue;
      }
      // The answer to a delivery leaves before the session that woke us is dealt with: that takes far longer.
      if (this.events.onWake()) await new Promise((resolve) => setImmediate(resolve));
      this.decoder.push(Buffer.from(this.buffer.subarray(0, count)));
    }
  }

  /** A host that was talking to an agent before us learns that it is gone. */
  private announce(): void {
    this.enqueue({ buffers: [encodeSync(NO_SESSION)], live: () => true, done: () => undefined });
  }

  private begin(session: string): void {
    this.retire();
    if (session === NO_SESSION) return;
    this.events.onSync();
    this.enqueue({ buffers: [encodeSync(session)], live: () => true, done: () => undefined });
    const stream: SessionStream = new SessionStream(this.rawChannel(() => this.stream === stream));
    stream.on('error', (error) => {
      log(`session: ${error.message}`);
    });
    this.stream = stream;
    this.handedOut = false;
  }

  private receive(payload: Buffer): void {
    const stream = this.stream;
    if (stream === undefined) return;
    if (!this.handedOut) {
      this.handedOut = true;
      this.endRetired();
      this.events.onSession(stream);
    }
    stream.receive(payload);
  }

  /**
   * Hears and says no more of the session, and leaves it as it stands: to clear gRPC's part of it away takes up to 180 ms under
   * emulation, which a fork that just woke has better use for.
   */
  private retire(): void {
    if (this.stream !== undefined) this.retired.add(this.stream);
    this.stream = undefined;
    const unsent = this.queue;
    this.queue = [];
    this.unsent.push(...unsent);
  }

  private endRetired(): void {
    for (const { done } of this.unsent.splice(0)) done(new Error('the session is over'));
    for (const stream of this.retired) stream.destroy();
    this.retired.clear();
  }

  /** The session of a connection that is over is left as it stands, too: see {@link retire}. */
  private async hangUp(): Promise<void> {
    const connection = this.connection;
    this.connection = undefined;
    this.retire();
    await connection?.close().catch(() => undefined);
  }

  private async disconnect(): Promise<void> {
    await this.hangUp();
    this.endRetired();
  }

  private rawChannel(live: () => boolean): RawChannel {
    return {
      write: (buffers, done) => {
        if (live()) this.enqueue({ buffers, live, done });
        else this.unsent.push({ buffers, live, done });
      },
      pauseReading: () => {
        if (!live() || this.paused !== undefined) return;
        let resume = (): void => undefined;
        const promise = new Promise<void>((resolve) => (resume = resolve));
        this.paused = { promise, resume };
      },
      resumeReading: () => {
        this.paused?.resume();
        this.paused = undefined;
      },
    };
  }

  private enqueue(write: PendingWrite): void {
    this.queue.push(write);
    if (!this.writing) void this.writeAll();
  }

  private async writeAll(): Promise<void> {
    this.writing = true;
    for (let next = this.queue.shift(); next !== undefined; next = this.queue.shift()) {
      const connection = this.connection;
      if (connection === undefined) {
        next.done(new Error('no channel'));
        continue;
      }
      try {
        let rest = Buffer.concat(next.buffers);
        // A session that was replaced meanwhile leaves half a record behind, which the host knows to discard.
        while (rest.length > 0 && next.live()) rest = rest.subarray(await connection.write(rest));
        next.done();
      } catch (error) {
        next.done(error instanceof Error ? error : new Error(messageOf(error)));
      }
    }
    this.writing = false;
    for (const resolve of this.drained) resolve();
    this.drained.clear();
  }
}

const pause = (ms: number, signal: AbortSignal): Promise<unknown> =>
  delay(ms, undefined, { signal }).catch(() => undefined);
