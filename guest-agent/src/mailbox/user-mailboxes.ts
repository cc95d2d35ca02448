import type { RegisteredMailbox } from '@offshoot/proto/generated/offshoot/guest/v1/guest_service.js';
import { InvalidInput, NotFound, Timeout, type OffshootError } from '@offshoot/shared/errors.js';
import { MAX_TOKEN_BYTES } from '@offshoot/shared/mailbox/frame-layout.js';
import { segmentsFor, type Delivery } from '@offshoot/shared/mailbox/segments.js';
import { Mailbox } from './mailbox.js';
import { checkUserName, type MailboxRoom } from './mailbox-room.js';
import { Waiters } from './waiters.js';

interface Slot {
  readonly mailbox: Mailbox;
  segments: number;
  outcome: { readonly delivery: Delivery } | { readonly error: OffshootError } | undefined;
  /** Found, but the network of this fork is not in force yet. */
  held: boolean;
  readonly waiters: Waiters;
}

/** The mailboxes that guest software holds through the agent. They outlive the client that armed them. */
export class UserMailboxes {
  private readonly slots = new Map<string, Slot>();

  /** @param onChange called after each change of what {@link registrations} gives */
  constructor(
    private readonly room: MailboxRoom,
    private readonly onChange: () => void,
  ) {}

  /**
   * Arms a mailbox, a known one anew: what was delivered into it before is wiped, token and capacity stay unless others are
   * given. Returns its token.
   * @param capacityBytes 3840 for a new mailbox when left out
   * @throws InvalidInput for a malformed or reserved name, a malformed token, a capacity out of range; AlreadyExists; Capacity
   */
  arm(name: string, token?: string, capacityBytes?: number): string {
    if (token !== undefined) checkToken(token);
    const known = this.slots.get(name);
    const segments = capacityBytes === undefined ? (known?.segments ?? 1) : segmentsFor('capacityBytes', capacityBytes);
    this.room.claim(name, this, segments);
    if (known === undefined) {
      const mailbox = new Mailbox(name, { token, segments });
      this.slots.set(name, { mailbox, segments, outcome: undefined, held: false, waiters: new Waiters() });
      this.onChange();
      return mailbox.token;
    }
    known.mailbox.arm({ token, segments });
    known.segments = segments;
    forget(known);
    this.onChange();
    return known.mailbox.token;
  }

  /**
   * Resolves with what is delivered; at once, and again, when that has happened since the mailbox was armed. The payload is
   * a copy for the caller, who wipes it.
   * @throws NotFound when it is not armed or disposed of; Corrupt for a torn delivery; Timeout when the signal ends first
   */
  async wait(name: string, signal: AbortSignal): Promise<Delivery> {
    const slot = this.slot(name);
    return slot.waiters.until(
      () => {
        if (slot.outcome === undefined || slot.held) return undefined;
        if ('error' in slot.outcome) throw slot.outcome.error;
        const { delivery } = slot.outcome;
        return { ...delivery, payload: Buffer.from(delivery.payload) };
      },
      signal,
      () => new Timeout(`nothing was delivered into ${name} in time`, { reason: 'MAILBOX_EMPTY' }),
    );
  }

  /** What to acknowledge: the delivery {@link wait} gives out now. @throws NotFound when there is none */
  delivered(name: string): Pick<Delivery, 'generation' | 'ack'> {
    const { outcome, held } = this.slot(name);
    if (outcome === undefined || held || 'error' in outcome)
      throw new NotFound(`nothing was delivered into ${name}`, { reason: 'MAILBOX_EMPTY', metadata: { name } });
    return outcome.delivery;
  }

  /** Wipes the mailbox and what was delivered into it. @throws NotFound when it is not armed */
  dispose(name: string): void {
    const slot = this.slot(name);
    this.slots.delete(name);
    this.room.release(name);
    slot.mailbox.dispose();
    forget(slot);
    slot.outcome = { error: new NotFound(`mailbox ${name} was disposed of`, { reason: 'MAILBOX_DISPOSED' }) };
    slot.waiters.wake();
    this.onChange();
  }

  /** Takes deliveries out of all frames and holds them back. Returns whether there were any. */
  look(): boolean {
    let found = false;
    for (const slot of this.slots.values()) {
      const what = slot.mailbox.look();
      if (what === undefined) continue;
      found = true;
      slot.outcome = 'delivery' in what ? { delivery: what.delivery } : { error: what.corrupt };
      slot.held = true;
    }
    return found;
  }

  /** Gives out what {@link look} held back. */
  release(): void {
    let released = false;
    for (const slot of this.slots.values()) {
      if (!slot.held) continue;
      released = true;
      slot.held = false;
      slot.waiters.wake();
    }
    if (released) this.onChange();
  }

  registrations(): RegisteredMailbox[] {
    return [...this.slots.values()].flatMap(({ mailbox }) => mailbox.registration() ?? []);
  }

  private slot(name: string): Slot {
    checkUserName(name);
    const slot = this.slots.get(name);
    if (slot === undefined)
      throw new NotFound(`mailbox ${name} is not armed`, { reason: 'MAILBOX_NOT_ARMED', metadata: { name } });
    return slot;
  }
}

/** Leaves nothing of a payload in this process's memory. */
function forget(slot: Slot): void {
  if (slot.outcome !== undefined && 'delivery' in slot.outcome) slot.outcome.delivery.payload.fill(0);
  slot.outcome = undefined;
  slot.held = false;
}

function checkToken(token: string): void {
  const bytes = Buffer.from(token, 'utf8');
  if (bytes.length < 1 || bytes.length > MAX_TOKEN_BYTES || bytes.includes(0) || bytes.toString('utf8') !== token)
    throw InvalidInput.field(
      'token',
      `must be 1 to ${String(MAX_TOKEN_BYTES)} bytes of UTF-8 without NUL`,
      'MAILBOX_TOKEN_MALFORMED',
    );
}
