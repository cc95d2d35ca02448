import { Aborted, InvalidInput, InvalidState, Timeout } from '@offshoot/shared/errors.js';
import { log } from '../log.js';

export interface QuiesceParts {
  readonly workload: { readonly frozen: boolean; freeze(signal: AbortSignal): Promise<void>; thaw(): void };
  readonly hooks: {
    list(): string[];
    run(hooks: readonly string[], env: Readonly<Record<string, string>>): Promise<void>;
  };
  /** Resolves when all that the workload wrote before it stood still is taken in. */
  readonly drained: () => Promise<void>;
  /** Takes away what no capture may have. */
  readonly wipeSecrets: () => void;
  /** Writes everything dirty to the disks. */
  readonly sync: () => Promise<void>;
  /** Looks whether the host wrote into our memory, and obeys it if so. */
  readonly look: () => void;
  /** A clock that stands still while the VM does, in milliseconds. */
  readonly now: () => number;
}

export interface QuiesceRequest {
  readonly freezeWorkload: boolean;
  /** In milliseconds; 0 means the default. */
  readonly timeoutMs: number;
}

const DEFAULT_LIMIT_MS = 10_000;
const LEAST_LIMIT_MS = 1000;
const MOST_LIMIT_MS = 60_000;
/** From the limit to the thaw, in milliseconds: what reached this VM when it began to run is heard by then. */
const GRACE_MS = 1000;
/** How exactly a fork knows since when it runs, in milliseconds; the price is a timer from quiesce to thaw. */
const TICK_MS = 10;

/**
 * The time between Quiesce and what ends it. A capture is taken in it, so this state wakes up in three places: in the source,
 * where the host calls Thaw; in a restored instance, likewise; in a fork, where an identity arrives. All three have the same
 * memory and the same running timers, and only the source may ever go on without a word from the host. What tells them
 * apart, without asking anybody:
 * - a fork has its identity in its memory before its first instruction, so every timer looks there first;
 * - a fork or restored instance is spoken to by a host that began a *new session* before it let the VM run. A session that
 *   begins ends the time limit: there is a host, and it owes an identity or a Thaw.
 * The limit therefore strikes only where nobody has spoken since Quiesce: the source of a host that died.
 */
export class Quiescence {
  /** Aborted when it is over. */
  private hold: AbortController | undefined;
  private answering = false;
  private limit: NodeJS.Timeout | undefined;
  private tick: NodeJS.Timeout | undefined;
  private heeds = true;
  private lastTick: number | undefined;

  constructor(private readonly parts: QuiesceParts) {}

  /** An agent that starts beside a frozen workload keeps it so for the time of one quiesce; nobody knows of its past. */
  takeOver(): void {
    if (!this.parts.workload.frozen) return;
    this.hold = new AbortController();
    this.startLimit(DEFAULT_LIMIT_MS);
    // The host opens a session with every new agent, so that one says nothing.
    this.heeds = false;
  }

  /**
   * Milliseconds this VM has run since its capture; 0 when it was not captured here. Known to {@link TICK_MS}.
   */
  get runningMs(): number {
    return this.lastTick === undefined ? 0 : Math.max(0, this.parts.now() - this.lastTick - TICK_MS / 2);
  }

  /**
   * Hooks, disks, the freeze, the secrets wiped, and the disks again. Syncs and does not freeze file systems: what the agent writes when it wakes
   * (names, ids) would block on a frozen one, and the workload, once it stands still, dirties nothing after the sync.
   * @throws InvalidInput; InvalidState while another is under way; Timeout past the limit; Aborted by a thaw; what
   * {@link QuiesceParts.workload} refuses with. The workload runs on after all of them.
   */
  async quiesce({ freezeWorkload, timeoutMs }: QuiesceRequest): Promise<void> {
    const limitMs = timeoutMs === 0 ? DEFAULT_LIMIT_MS : timeoutMs;
    if (!Number.isInteger(limitMs) || limitMs < LEAST_LIMIT_MS || limitMs > MOST_LIMIT_MS)
      throw InvalidInput.field('timeout_ms', `must be from ${String(LEAST_LIMIT_MS)} to ${String(MOST_LIMIT_MS)}`);
    if (this.answering) throw new InvalidState('a quiesce is under way', { reason: 'QUIESCE_RUNNING' });
    this.stopTimers();
    const hold = new AbortController();
    [this.hold, this.heeds, this.answering] = [hold, true, true];
    this.startLimit(limitMs);
    try {
      const hooks = this.parts.hooks.list();
      if (hooks.length > 0) await this.parts.hooks.run(hooks, { OFFSHOOT_EVENT: 'before-snapshot' });
      hold.signal.throwIfAborted();
      // What the disks take time for is written while the workload still runs.
      await this.parts.sync();
      hold.signal.throwIfAborted();
      if (freezeWorkload) {
        await this.parts.workload.freeze(hold.signal);
        await this.parts.drained();
      }
      // Late, so that the workload has it for as long as it runs; the host gives another one with its thaw, or an identity.
      this.parts.wipeSecrets();
      await this.parts.sync();
      hold.signal.throwIfAborted();
      this.startTicks();
    } catch (error) {
      if (this.hold === hold) this.thaw();
      throw error;
    } finally {
      this.answering = false;
    }
  }

  /** Lets the workload run on, or ends a quiesce that is under way. Does nothing when there is neither. */
  thaw(): void {
    this.end(new Aborted('thawed before it was quiet', { reason: 'QUIESCE_ENDED' }));
  }

  /** The host spoke anew: it will say how this goes on. */
  sessionBegan(): void {
    if (this.heeds) this.identityArrives();
  }

  /** An identity was found; from here on only it, or the host, ends this. */
  identityArrives(): void {
    clearTimeout(this.limit);
    this.limit = undefined;
  }

  private end(reason: Error): void {
    this.stopTimers();
    this.hold?.abort(reason);
    this.hold = undefined;
    this.parts.workload.thaw();
  }

  private startLimit(limitMs: number): void {
    const strike = (): void => {
      this.parts.look();
      if (this.limit === undefined) return;
      const message = `no host within ${String(limitMs)} ms of the quiesce: going on`;
      log(message);
      this.end(new Timeout(message, { reason: 'QUIESCE_LIMIT' }));
    };
    this.limit = setTimeout(() => {
      this.parts.look();
      if (this.limit !== undefined) this.limit = setTimeout(strike, GRACE_MS);
    }, limitMs);
  }

  private startTicks(): void {
    this.lastTick = this.parts.now();
    this.tick = setInterval(() => {
      this.parts.look();
      // A tick of a VM that was captured since the last one finds the delivery, and what follows from it needs the old time.
      if (this.tick !== undefined) this.lastTick = this.parts.now();
    }, TICK_MS);
  }

  private stopTimers(): void {
    clearTimeout(this.limit);
    clearInterval(this.tick);
    [this.limit, this.tick, this.lastTick] = [undefined, undefined, undefined];
  }
}
