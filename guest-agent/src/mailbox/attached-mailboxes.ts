import type { RegisteredMailbox } from '@offshoot/proto/generated/offshoot/guest/v1/guest_service.js';
import { NotFound, Timeout } from '@offshoot/shared/errors.js';
import { AttachedMailbox, type AttachedPlace } from './attached-mailbox.js';
import { checkUserName, type MailboxRoom } from './mailbox-room.js';
import { Waiters } from './waiters.js';

interface Slot {
  readonly mailbox: AttachedMailbox;
  readonly client: AbortSignal;
  /** Of the delivery that was last seen; 0 when none was. */
  generation: number;
  /** Seen, but the identity of this fork is not in force yet. */
  held: boolean;
  readonly waiters: Waiters;
}

/**
 * The mailboxes that programs have in their own memory and told the agent of. Each belongs to the connection it came over,
 * which stands for the program: when that closes, its mailboxes are gone. `client` ends with the connection.
 */
export class AttachedMailboxes {
  private readonly slots = new Map<string, Slot>();
  private readonly clients = new WeakSet<AbortSignal>();

  /** @param onChange called after each change of what {@link registrations} gives */
  constructor(
    private readonly room: MailboxRoom,
    private readonly onChange: () => void,
  ) {}

  /**
   * Takes the place of what the client had attached under this name. A delivery that stands in it already is given out by
   * the next {@link release}.
   * @throws InvalidInput for a malformed or reserved name or a process that cannot be looked into; Corrupt when no such
   * mailbox stands there; AlreadyExists; Capacity. What was attached before stays after all of them
   */
  attach(place: AttachedPlace, client: AbortSignal): void {
    const { name } = place;
    checkUserName(name);
    if (client.aborted) return;
    const mailbox = AttachedMailbox.open(place);
    try {
      this.room.claim(name, client, mailbox.segments);
    } catch (error) {
      mailbox[Symbol.dispose]();
      throw error;
    }
    this.drop(name);
    const generation = mailbox.deliveredGeneration();
    this.slots.set(name, { mailbox, client, generation, held: generation !== 0, waiters: new Waiters() });
    this.detachWith(client);
    this.onChange();
  }

  /**
   * Resolves with the generation of the delivery that stands in the mailbox; at once when that is there already.
   * @throws NotFound when the client has not attached it, or detaches it; Timeout when the signal ends first
   */
  async watch(name: string, client: AbortSignal, signal: AbortSignal): Promise<number> {
    const slot = this.slotOf(name, client);
    return slot.waiters.until(
      () => {
        if (this.slots.get(name) !== slot) throw notAttached(name);
        return slot.generation === 0 || slot.held ? undefined : slot.generation;
      },
      signal,
      () => new Timeout(`nothing was delivered into ${name} in time`, { reason: 'MAILBOX_EMPTY' }),
    );
  }

  /** @throws NotFound when the client has not attached it */
  detach(name: string, client: AbortSignal): void {
    this.slotOf(name, client);
    this.drop(name);
    this.room.release(name);
    this.onChange();
  }

  /** Looks for deliveries in all frames and holds them back. Returns whether there were any new ones. */
  look(): boolean {
    let found = false;
    for (const slot of this.slots.values()) {
      if (slot.generation !== 0) continue;
      slot.generation = slot.mailbox.deliveredGeneration();
      if (slot.generation === 0) continue;
      found = true;
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

  private slotOf(name: string, client: AbortSignal): Slot {
    checkUserName(name);
    const slot = this.slots.get(name);
    if (slot?.client !== client) throw notAttached(name);
    return slot;
  }

  private drop(name: string): void {
    const slot = this.slots.get(name);
    if (slot === undefined) return;
    this.slots.delete(name);
    slot.mailbox[Symbol.dispose]();
    slot.waiters.wake();
  }

  /** One listener for a client, however many mailboxes it attaches. */
  private detachWith(client: AbortSignal): void {
    if (this.clients.has(client)) return;
    this.clients.add(client);
    client.addEventListener(
      'abort',
      () => {
        const names = [...this.slots].filter(([, slot]) => slot.client === client).map(([name]) => name);
        for (const name of names) {
          this.drop(name);
          this.room.release(name);
        }
        if (names.length > 0) this.onChange();
      },
      { once: true },
    );
  }
}

const notAttached = (name: string): NotFound =>
  new NotFound(`mailbox ${name} is not attached over this connection`, {
    reason: 'MAILBOX_NOT_ATTACHED',
    metadata: { name },
  });
