import { constants, openSync } from 'node:fs';
import { Socket } from 'node:net';
import * as z from 'zod';

/** What Cloud Hypervisor says happened, as `vm booted` or `guest panic`. */
export type VmmEvent = `${string} ${string}`;

const EVENT = z.object({ source: z.string(), event: z.string() });

/** Far more than an event is long. */
const MAX_EVENT_CHARACTERS = 64 * 1024;

/**
 * The events of a VMM, out of the FIFO it writes them to. It has that open for reading as well, so what it says while nobody
 * listens waits there, up to a pipe's 64 KiB; what is more is lost. A guest that makes its VMM say a lot fills no disk.
 */
export class VmmEvents {
  private readonly socket: Socket;
  private readonly heard = new Set<VmmEvent>();
  private readonly listeners = new Set<() => void>();
  private rest = '';
  private closedHere = false;
  /** When the VMM has ended and everything it said is known; or we no longer listen. */
  readonly closed: Promise<{ readonly here: boolean }>;

  private constructor(path: string) {
    this.socket = new Socket({
      fd: openSync(path, constants.O_RDONLY | constants.O_NONBLOCK),
      readable: true,
      writable: false,
    });
    this.closed = new Promise((resolve) => {
      this.socket.once('close', () => {
        resolve({ here: this.closedHere });
      });
    });
    this.socket.on('error', () => undefined); // 'close' follows
    this.socket.setEncoding('utf8');
    this.socket.on('data', (text: string) => {
      this.take(text);
    });
  }

  /** The FIFO must have a writer already. */
  static of(path: string): VmmEvents {
    return new VmmEvents(path);
  }

  has(event: VmmEvent): boolean {
    return this.heard.has(event);
  }

  /** Calls with each event that was not said before, at once with those that were. */
  onEvent(listener: (event: VmmEvent) => void): void {
    const told = new Set<VmmEvent>();
    const tell = (): void => {
      for (const event of this.heard) {
        if (told.has(event)) continue;
        told.add(event);
        listener(event);
      }
    };
    this.listeners.add(tell);
    tell();
  }

  /** Settles when the event was said; with false when the VMM has ended without it. @throws the signal's reason */
  async said(event: VmmEvent, signal: AbortSignal): Promise<boolean> {
    signal.throwIfAborted();
    let stop = (): void => undefined;
    try {
      return await new Promise<boolean>((resolve, reject) => {
        const look = (): void => {
          if (this.has(event)) resolve(true);
        };
        const onAbort = (): void => {
          reject(signal.reason instanceof Error ? signal.reason : new Error('aborted', { cause: signal.reason }));
        };
        this.listeners.add(look);
        signal.addEventListener('abort', onAbort);
        stop = () => {
          this.listeners.delete(look);
          signal.removeEventListener('abort', onAbort);
        };
        void this.closed.then(() => {
          resolve(this.has(event));
        });
        look();
      });
    } finally {
      stop();
    }
  }

  close(): void {
    this.closedHere = true;
    this.socket.destroy();
  }

  /** JSON objects over several lines, each followed by an empty one. One that is cut short, because the pipe was full, is none. */
  private take(text: string): void {
    const pieces = (this.rest + text).split('\n\n');
    this.rest = (pieces.pop() ?? '').slice(-MAX_EVENT_CHARACTERS);
    for (const piece of pieces) {
      const event = parsed(piece);
      if (event !== undefined) this.heard.add(`${event.source} ${event.event}`);
    }
    for (const listener of [...this.listeners]) listener();
  }
}

function parsed(text: string): z.infer<typeof EVENT> | undefined {
  try {
    return EVENT.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}
