import { createInterface } from 'node:readline';
import type { Duplex } from 'node:stream';
import * as z from 'zod';

/** What QEMU sends (docs/interop/qmp-spec). The bench keeps a client of its own: it measures from outside. */
const MESSAGE = z.union([
  z.object({ QMP: z.looseObject({}) }),
  z.object({ error: z.object({ desc: z.string() }), id: z.number() }),
  z.object({ return: z.unknown(), id: z.number() }),
  z.object({ event: z.string(), data: z.looseObject({ status: z.string().optional() }).optional() }),
]);

interface Waiting<T> {
  readonly resolve: (value: T) => void;
  readonly reject: (error: Error) => void;
}

/** One QMP connection: commands answered in order, and the end of a migration. */
export class QmpConnection {
  private readonly answers = new Map<number, Waiting<unknown>>();
  private readonly greetings: Waiting<undefined>[] = [];
  private readonly migrations: Waiting<undefined>[] = [];
  private nextId = 1;
  private failure: Error | undefined;

  private constructor(private readonly stream: Duplex) {
    createInterface({ input: stream }).on('line', (line) => {
      this.take(line);
    });
    stream.on('error', (error) => {
      this.fail(error);
    });
    stream.once('close', () => {
      this.fail(new Error('QEMU hung up'));
    });
  }

  /** Waits for the greeting and leaves negotiation mode. @throws when QEMU hangs up */
  static async over(stream: Duplex): Promise<QmpConnection> {
    const qmp = new QmpConnection(stream);
    await qmp.promised<undefined>((waiting) => qmp.greetings.push(waiting));
    await qmp.execute('qmp_capabilities');
    return qmp;
  }

  /** @throws with QEMU's own words when it refuses */
  execute(command: string, args: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    const id = this.nextId++;
    return this.promised<unknown>((waiting) => {
      this.answers.set(id, waiting);
      this.stream.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    });
  }

  /** Carries out a command that begins a migration, and resolves when it is complete; needs the capability `events`. */
  async migrate(command: 'migrate' | 'migrate-incoming', uri: string): Promise<void> {
    const completed = this.promised<undefined>((waiting) => this.migrations.push(waiting));
    await Promise.all([this.execute(command, { uri }), completed]);
  }

  private promised<T>(register: (waiting: Waiting<T>) => void): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.failure === undefined) register({ resolve, reject });
      else reject(this.failure);
    });
  }

  private take(line: string): void {
    const message = MESSAGE.parse(JSON.parse(line));
    if ('QMP' in message) settle(this.greetings);
    else if ('event' in message) this.hear(message.event, message.data?.status);
    else {
      const waiting = this.answers.get(message.id);
      this.answers.delete(message.id);
      if ('error' in message) waiting?.reject(new Error(`QEMU refused: ${message.error.desc}`));
      else waiting?.resolve(message.return);
    }
  }

  private hear(event: string, status: string | undefined): void {
    if (event !== 'MIGRATION') return;
    if (status === 'completed') settle(this.migrations);
    if (status === 'failed') settle(this.migrations, new Error('the migration failed'));
  }

  private fail(error: Error): void {
    if (this.failure !== undefined) return;
    this.failure = error;
    settle(this.greetings, error);
    settle(this.migrations, error);
    for (const { reject } of this.answers.values()) reject(error);
    this.answers.clear();
  }
}

function settle(all: Waiting<undefined>[], error?: Error): void {
  for (const { resolve, reject } of all.splice(0)) {
    if (error === undefined) resolve(undefined);
    else reject(error);
  }
}
