import type { RegisteredMailbox } from '@offshoot/proto/generated/offshoot/guest/v1/guest_service.js';
import { InvalidInput } from '@offshoot/shared/errors.js';
import { CLOCK_MAILBOX, ENTROPY_MAILBOX, NETWORK_MAILBOX } from '@offshoot/shared/mailbox/frame-layout.js';
import type { Delivery } from '@offshoot/shared/mailbox/segments.js';
import { Mailbox, type Found } from '../mailbox/mailbox.js';
import { parseForkIdentity, type ForkIdentity } from './fork-identity.js';

/** The fields of an identity, before they are checked. */
type Fields = Readonly<Record<string, unknown>>;

/**
 * The reserved mailboxes, and what each brings of an identity. One more of the host's hand-offs is one entry here. The
 * network comes first: it is the one that is acknowledged, for all of them.
 */
const FIELDS_OF: Readonly<Record<string, (delivery: Delivery) => Fields>> = {
  [NETWORK_MAILBOX]: (delivery) => json(delivery, NETWORK_MAILBOX),
  [CLOCK_MAILBOX]: (delivery) => json(delivery, CLOCK_MAILBOX),
  [ENTROPY_MAILBOX]: ({ payload }) => ({ entropy: payload }),
};

/** An identity that stands in the mailboxes. */
export interface FoundIdentity {
  /** What is acknowledged; undefined when that is what is torn, and there is nobody to be told. */
  readonly answerable: Delivery | undefined;
  /** @throws Corrupt for a torn delivery, InvalidInput for what is no identity */
  read(): ForkIdentity;
  /** Leaves nothing of it in memory. */
  wipe(): void;
}

/** The mailboxes in which a fork finds who it is: armed always. */
export class IdentityMailboxes {
  private readonly mailboxes = Object.keys(FIELDS_OF).map((name) => new Mailbox(name));

  /** What was delivered, which the host does into all of them at once; undefined when there is nothing. */
  look(): FoundIdentity | undefined {
    const found = new Map<string, Found>();
    for (const mailbox of this.mailboxes) {
      const what = mailbox.look();
      if (what !== undefined) found.set(mailbox.name, what);
    }
    if (found.size === 0) return undefined;
    const network = found.get(NETWORK_MAILBOX);
    return {
      answerable: network !== undefined && 'delivery' in network ? network.delivery : undefined,
      read: () => parseForkIdentity(fieldsOf(found)),
      wipe: () => {
        for (const what of found.values()) if ('delivery' in what) what.delivery.payload.fill(0);
      },
    };
  }

  arm(): void {
    for (const mailbox of this.mailboxes) mailbox.arm();
  }

  registrations(): RegisteredMailbox[] {
    return this.mailboxes.flatMap((mailbox) => mailbox.registration() ?? []);
  }
}

function fieldsOf(found: ReadonlyMap<string, Found>): Fields {
  const fields: Record<string, unknown> = {};
  for (const [name, what] of found) {
    if ('corrupt' in what) throw what.corrupt;
    Object.assign(fields, FIELDS_OF[name]?.(what.delivery));
  }
  return fields;
}

function json({ contentType, payload }: Delivery, mailbox: string): Fields {
  const value: unknown = contentType === 'json' ? JSON.parse(payload.toString('utf8')) : undefined;
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value };
  throw new InvalidInput(`${mailbox}: the payload is not a JSON object`, { reason: 'FORK_IDENTITY_MALFORMED' });
}
