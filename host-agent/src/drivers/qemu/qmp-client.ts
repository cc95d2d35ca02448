import { EventEmitter, once } from 'node:events';
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { Corrupt, InvalidState, Unreachable } from '@offshoot/shared/errors.js';
import * as z from 'zod';

/** Longest line taken from the VMM: far more than the longest answers asked for, lists of commands and types. */
const MAX_LINE_BYTES = 4 * 1024 * 1024;

/** What QEMU sends (docs/interop/qmp-spec): the greeting, answers with our id, events. */
const MESSAGE = z.union([
  z.object({ QMP: z.looseObject({}) }),
  z.object({ error: z.object({ class: z.string(), desc: z.string() }), id: z.number().optional() }),
  z.object({ return: z.unknown(), id: z.number() }),
  z.object({ event: z.string(), data: z.record(z.string(), z.unknown()).optional() }),
]);
type Message = z.infer<typeof MESSAGE>;

export interface QmpEvent {
  readonly name: string;
  readonly data: Readonly<Record<string, unknown>>;
}

interface Pending {
  readonly command: string;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
}

/**
 * The one connection to a VMM's QMP socket; QEMU serves one client at a time. Commands may be sent one after another without
 * waiting: QEMU carries them out in order.
 */
export class QmpClient {
  private readonly emitter = new EventEmitter();
  private readonly pending = new Map<number, Pending>();
  private readonly greeted: Promise<void>;
  private greet: () => void = () => undefined;
  private refuse: (error: Error) => void = () => undefined;
  private nextId = 1;
  private rest: Buffer[] = [];
  private restBytes = 0;
  private failure: Error | undefined;
  private closedHere = false;
  private shutdown: string | undefined;
  /** Settles when the connection is gone: whether this side meant it, and why the VMM shut down, if it had said that it does. */
  readonly closed: Promise<{ readonly here: boolean; readonly shutdown: string | undefined }>;

  private constructor(private readonly socket: Duplex) {
    this.emitter.setMaxListeners(0);
    this.greeted = new Promise((resolve, reject) => {
      this.greet = resolve;
      this.refuse = reject;
    });
    this.greeted.catch(() => undefined); // whoever waits for it hears of it there
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.fail(gone('the connection was closed'));
        resolve({ here: this.closedHere, shutdown: this.shutdown });
      });
    });
    socket.on('error', (error: Error) => {
      this.fail(gone(error.message, error));
    });
    socket.on('data', (chunk: Buffer) => {
      this.receive(chunk);
    });
  }

  /**
   * Connects, waits for the greeting and leaves negotiation mode.
   * @throws Unreachable when nobody listens or the VMM hangs up; the signal's reason
   */
  static async connect(path: string, signal?: AbortSignal): Promise<QmpClient> {
    signal?.throwIfAborted();
    return QmpClient.over(connect({ path }), signal);
  }

  /** As {@link connect}, over a stream that is there already. */
  static async over(stream: Duplex, signal?: AbortSignal): Promise<QmpClient> {
    const client = new QmpClient(stream);
    try {
      await client.abortable(client.greeted, signal);
      await client.execute('qmp_capabilities', {}, z.unknown(), signal);
      return client;
    } catch (error) {
      client.close();
      throw error;
    }
  }

  /**
   * Carries out a command. An aborted one may still be carried out by the VMM; its answer is dropped.
   * @throws InvalidState with the VMM's own words when it refuses; Unreachable when it is gone; Corrupt for an answer of another shape
   */
  async execute<T>(
    command: string,
    args: Readonly<Record<string, unknown>>,
    shape: z.ZodType<T>,
    signal?: AbortSignal,
  ): Promise<T> {
    signal?.throwIfAborted();
    if (this.failure !== undefined) throw this.failure;
    const id = this.nextId++;
    const answer = new Promise<unknown>((resolve, reject) => {
      this.pending.set(id, { command, resolve, reject });
    });
    answer.catch(() => undefined); // an aborted caller is no longer there to hear of it
    this.socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    const result = shape.safeParse(await this.abortable(answer, signal));
    if (result.success) return result.data;
    throw new Corrupt(`QMP ${command} answered something else than expected: ${result.error.message}`, {
      reason: 'QMP_MALFORMED',
      cause: result.error,
    });
  }

  /** As {@link execute}, the answer as it is: for commands whose answer says nothing. */
  async run(command: string, args: Readonly<Record<string, unknown>> = {}, signal?: AbortSignal): Promise<unknown> {
    return this.execute(command, args, z.unknown(), signal);
  }

  onEvent(listener: (event: QmpEvent) => void): Disposable {
    this.emitter.on('event', listener);
    return {
      [Symbol.dispose]: () => {
        this.emitter.off('event', listener);
      },
    };
  }

  /** Hangs up; what is waiting is told so. */
  close(): void {
    if (this.failure === undefined) this.closedHere = true;
    this.fail(gone('closed by this side'));
  }

  private async abortable<T>(work: Promise<T>, signal?: AbortSignal): Promise<T> {
    if (signal === undefined) return work;
    const done = new AbortController();
    const aborted = once(signal, 'abort', { signal: done.signal }).then(() => {
      signal.throwIfAborted();
      throw new Error('aborted');
    });
    aborted.catch(() => undefined);
    try {
      return await Promise.race([work, aborted]);
    } finally {
      done.abort();
    }
  }

  private fail(error: Error): void {
    if (this.failure !== undefined) return;
    this.failure = error;
    this.socket.destroy();
    this.refuse(error);
    for (const { reject } of this.pending.values()) reject(error);
    this.pending.clear();
  }

  private receive(chunk: Buffer): void {
    let from = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
      const line = Buffer.concat([...this.rest, chunk.subarray(from, end)]).toString('utf8');
      this.rest = [];
      this.restBytes = 0;
      from = end + 1;
      if (line.trim() !== '') this.take(line);
      if (this.failure !== undefined) return;
    }
    if (from === chunk.length) return;
    this.rest.push(chunk.subarray(from));
    this.restBytes += chunk.length - from;
    if (this.restBytes > MAX_LINE_BYTES) this.fail(malformed(`a line of over ${String(MAX_LINE_BYTES)} bytes`));
  }

  private take(line: string): void {
    let message: Message;
    try {
      message = MESSAGE.parse(JSON.parse(line));
    } catch (error) {
      this.fail(malformed('not a message', error));
      return;
    }
    if ('QMP' in message) this.greet();
    else if ('event' in message) {
      const { event, data = {} } = message;
      if (event === 'SHUTDOWN') this.shutdown = String(data.reason);
      this.emitter.emit('event', { name: event, data });
    } else this.settle(message);
  }

  private settle(message: Extract<Message, { id?: number | undefined }>): void {
    const waiting = message.id === undefined ? undefined : this.pending.get(message.id);
    if (waiting === undefined || message.id === undefined) {
      this.fail(malformed('an answer to nothing that was asked'));
      return;
    }
    this.pending.delete(message.id);
    if (!('error' in message)) {
      waiting.resolve(message.return);
      return;
    }
    const { desc, class: errorClass } = message.error;
    waiting.reject(
      new InvalidState(`QEMU refused ${waiting.command}: ${desc}`, {
        reason: 'HYPERVISOR_REFUSED',
        metadata: { command: waiting.command, class: errorClass },
      }),
    );
  }
}

const gone = (why: string, cause?: unknown): Unreachable =>
  new Unreachable(`QEMU's control socket: ${why}`, { reason: 'VMM_GONE', cause });

const malformed = (what: string, cause?: unknown): Corrupt =>
  new Corrupt(`QEMU's control socket sent ${what}`, { reason: 'QMP_MALFORMED', cause });
