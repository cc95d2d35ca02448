import { connect, type Socket } from 'node:net';
import { once } from 'node:events';

/** What the agent said to a request. */
export interface AgentAnswer {
  readonly ok: boolean;
  /** Why not, where it is not; empty where it is. */
  readonly reason: string;
  readonly confirmed: boolean;
}

/** The agent's connection ended, or it did not answer in time. */
export class AgentGone extends Error {}

const CONNECT_MS = 5_000;
/** Longest line the agent has to say. */
const MAX_LINE = 65_536;

/** A connection to the guest agent's local socket: a JSON object a line each way, answers told apart by their id. */
export class AgentLink {
  private lastId = 0;
  private rest = '';
  private readonly waiting = new Map<number, (answer: AgentAnswer | undefined) => void>();

  private constructor(private readonly socket: Socket) {
    socket.unref(); // whoever waits for an answer holds a timer
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => {
      this.take(text);
    });
    socket.on('error', () => undefined); // `close` follows
    socket.once('close', () => {
      for (const settle of this.waiting.values()) settle(undefined);
    });
  }

  /** Undefined where no agent listens. */
  static async connect(): Promise<AgentLink | undefined> {
    const socket = connect(process.env.OFFSHOOT_GUEST_SOCKET ?? '/run/offshoot/guest.sock');
    try {
      await once(socket, 'connect', { signal: AbortSignal.timeout(CONNECT_MS) });
      return new AgentLink(socket);
    } catch {
      socket.destroy();
      return undefined;
    }
  }

  /** @throws AgentGone also when the answer does not come within the time; without one, it may take for ever */
  ask(request: Readonly<Record<string, unknown>>, timeoutMs?: number): Promise<AgentAnswer> {
    const id = ++this.lastId;
    return new Promise((resolve, reject) => {
      const settle = (answer: AgentAnswer | undefined): void => {
        clearTimeout(timer);
        this.waiting.delete(id);
        if (answer === undefined) reject(new AgentGone());
        else resolve(answer);
      };
      const timer =
        timeoutMs === undefined
          ? undefined
          : setTimeout(() => {
              settle(undefined);
            }, timeoutMs);
      this.waiting.set(id, settle);
      if (this.socket.destroyed) settle(undefined);
      else this.socket.write(`${JSON.stringify({ id, ...request })}\n`);
    });
  }

  close(): void {
    this.socket.destroy();
  }

  private take(text: string): void {
    const lines = (this.rest + text).split('\n');
    this.rest = lines.pop() ?? '';
    try {
      for (const line of lines) this.settle(JSON.parse(line));
    } catch {
      this.close(); // not an agent
    }
    if (this.rest.length > MAX_LINE) this.close();
  }

  private settle(value: unknown): void {
    const fields = fieldsOf(value);
    const settle = this.waiting.get(Number(fields.get('id')));
    if (settle === undefined) return; // nobody waits for it any more
    const ok = fields.get('ok') === true;
    const reason = ok ? '' : String(fieldsOf(fields.get('error')).get('reason'));
    settle({ ok, reason, confirmed: fields.get('confirmed') === true });
  }
}

const fieldsOf = (value: unknown): Map<string, unknown> =>
  new Map(typeof value === 'object' && value !== null ? Object.entries(value) : []);
