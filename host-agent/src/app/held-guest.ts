import { setTimeout as delay } from 'node:timers/promises';
import { Timeout, Unreachable, messageOf } from '@offshoot/shared/errors.js';
import type { Logger } from 'pino';
import type { Instance } from '../domain/instance.js';
import type { Quiesced } from '../ports/guest-link.js';
import { abortable } from './abortable.js';
import type { RunningInstance } from './running-instances.js';

/** The guest lets its workload go by itself after this long without a word from its host, in milliseconds. */
const FREEZE_LIMIT_MS = 10_000;
/** The caller waits this long for a thaw. */
const THAW_MS = 5000;
/** Between two tries of a thaw whose session broke. */
const THAW_AGAIN_MS = 100;

/** What is held of a VM whose guest is. */
type Guest = Pick<RunningInstance, 'link' | 'credential'>;

/**
 * A guest that holds still for its capture: disks synced, and the workload frozen, so that no instruction of it runs in a
 * fork before the fork's identity is in force. Its credential is void, also where software in it has made a copy. It goes on, with
 * another one, when this is disposed of, unless {@link keep} was called.
 */
export class HeldGuest implements AsyncDisposable {
  private held = true;

  private constructor(
    private readonly guest: Guest,
    private readonly name: string,
    private readonly quiesced: Quiesced | undefined,
    private readonly logger: Logger,
  ) {}

  /** A guest that is paused was quiesced for that; one without an agent cannot be asked, and is captured as it is. */
  static async hold(
    { agent, state, name }: Instance,
    guest: Guest,
    freezeWorkload: boolean,
    logger: Logger,
    signal: AbortSignal,
  ): Promise<HeldGuest> {
    if (agent === undefined || state !== 'RUNNING') return new HeldGuest(guest, name, undefined, logger);
    guest.credential.revoke();
    try {
      const quiesced = await guest.link.quiesce({ freezeWorkload, timeoutMs: FREEZE_LIMIT_MS }, signal);
      return new HeldGuest(guest, name, quiesced, logger);
    } catch (error) {
      await thaw(guest, name, logger);
      throw error;
    }
  }

  /** @throws Timeout when the guest let go before the VM stood still, `pauseMs` ago */
  assertHeld(pauseMs: number): void {
    if (this.quiesced === undefined || performance.now() - pauseMs <= this.quiesced.stopBefore) return;
    throw new Timeout(`the guest of ${this.name} held still for its capture, but let go before the VM stood`, {
      reason: 'QUIESCE_OVERRUN',
    });
  }

  /** The VM ends with its guest as it is. */
  keep(): void {
    this.held = false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.held && this.quiesced !== undefined) await thaw(this.guest, this.name, this.logger);
  }
}

/**
 * Lets a guest's workload go on, with a credential of its own. Goes on trying in the background when the guest does not hear it in good time: once a host
 * has spoken to a restored guest, the guest waits for this and no longer lets go by itself.
 */
export async function thaw(guest: Guest, name: string, logger: Logger): Promise<void> {
  const heard = thawUntilHeard(guest);
  try {
    await abortable(heard, AbortSignal.timeout(THAW_MS));
  } catch (error) {
    logger.warn({ name, error: messageOf(error) }, 'the guest has not yet been told to let its workload go on');
  }
}

/** Ends when the guest heard it, cannot do it, is gone, or is held or thawed anew. */
async function thawUntilHeard({ link, credential }: Guest): Promise<void> {
  const never = new AbortController().signal;
  const issued = credential.issue();
  try {
    while (credential.isValid(issued)) {
      try {
        await link.thaw(issued, never);
        return;
      } catch (error) {
        // A session that broke is followed by another; everything else stays as it is.
        if (!(error instanceof Unreachable) || error.reason !== 'GUEST_CALL_CUT') return;
        await delay(THAW_AGAIN_MS, undefined, { ref: false });
      }
    }
  } finally {
    issued.fill(0);
  }
}
