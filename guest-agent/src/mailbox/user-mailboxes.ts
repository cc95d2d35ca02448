import type { RegisteredMailbox } from '@offshoot/proto/generated/offshoot/guest/v1/guest_service.js';
import { Capacity, InvalidInput, NotFound, Timeout, type OffshootError } from '@offshoot/shared/errors.js';
import { checkMailboxName } from '@offshoot/shared/mailbox/ack-line.js';
import type { SegmentDelivery } from '@offshoot/shared/mailbox/frame.js';
import { MAX_TOKEN_BYTES, RESERVED_NAME_PREFIX } from '@offshoot/shared/mailbox/frame-layout.js';
import { Mailbox } from './mailbox.js';

/** Mailboxes guest software may hold through the agent: a page of locked memory each. */
export const MAX_USER_MAILBOXES = 64;

interface Slot {
  readonly mailbox: Mailbox;
  outcome: { readonly delivery: SegmentDelivery } | { readonly error: OffshootError } | undefined;
  /** Found, but the network of this fork is not in force yet. */
  held: boolean;
  readonly waiters: Set<() => void>;
}

/** The mailboxes that guest software holds through the agent. They outlive the client that armed them. */
export class UserMailboxes {
  private readonly slots = new Map<string, Slot>();

  /** @param onChange called after each change of what {@link registrations} gives */
  constructor(private readonly onChange: () => void) {}

  /**
   * Arms a mailbox, a known one anew: what was delivered into it before is dropped. Returns its token.
   * @throws InvalidInput for a malformed or reserved name or token; Capacity
   */
  arm(name: string, token?: string): string {
    checkUserName(name);
    if (token !== undefined) checkToken(token);
    const slot = this.slots.get(name);
    if (slot === undefined) {
      if (this.slots.size >= MAX_USER_MAILBOXES)
        throw new Capacity(`${String(MAX_USER_MAILBOXES)} mailboxes are armed; dispose of one first`, {
          reason: 'MAILBOX_LIMIT',
        });
      const mailbox = new Mailbox(name, token);
      this.slots.set(name, { mailbox, outcome: undefined, held: false, waiters: new Set() });
      this.onChange();
      return mailbox.token;
    }
    slot.mailbox.arm(token);
    slot.outcome = undefined;
    slot.held = false;
    this.onChange();
    return slot.mailbox.token;
  }

  /**
   * Resolves with what is delivered; at once, and again, when that has happened since the mailbox was armed.
   * @throws NotFound when it is not armed or disposed of; Corrupt for a torn delivery; Timeout when the signal ends first
   */
  wait(name: string, signal: AbortSignal): Promise<SegmentDelivery> {
    return new Promise((resolve, reject) => {
      const slot = this.slot(name);
      const settle = (act: () => void): void => {
        slot.waiters.delete(look);
        signal.removeEventListener('abort', look);
        act();
      };
      const look = (): void => {
        const { outcome, held } = slot;
        if (outcome !== undefined && !held) {
          settle(() => {
            if ('error' in outcome) reject(outcome.error);
            else resolve(outcome.delivery);
          });
        } else if (signal.aborted) {
          settle(() => {
            reject(new Timeout(`nothing was delivered into ${name} in time`, { reason: 'MAILBOX_EMPTY' }));
          });
        }
      };
      slot.waiters.add(look);
      signal.addEventListener('abort', look);
      look();
    });
  }

  /** The delivery {@link wait} gives out now. @throws NotFound when there is none */
  delivered(name: string): SegmentDelivery {
    const { outcome, held } = this.slot(name);
    if (outcome === undefined || held || 'error' in outcome)
      throw new NotFound(`nothing was delivered into ${name}`, { reason: 'MAILBOX_EMPTY', metadata: { name } });
    return outcome.delivery;
  }

  /** @throws NotFound when it is not armed */
  dispose(name: string): void {
    const slot = this.slot(name);
    this.slots.delete(name);
    slot.mailbox.dispose();
    slot.held = false;
    slot.outcome = { error: new NotFound(`mailbox ${name} was disposed of`, { reason: 'MAILBOX_DISPOSED' }) };
    for (const look of [...slot.waiters]) look();
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
      for (const look of [...slot.waiters]) look();
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

function checkUserName(name: string): void {
  checkMailboxName('name', name);
  if (name.startsWith(RESERVED_NAME_PREFIX))
    throw InvalidInput.field(
      'name',
      `names beginning with ${RESERVED_NAME_PREFIX} are reserved`,
      'MAILBOX_NAME_RESERVED',
    );
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
