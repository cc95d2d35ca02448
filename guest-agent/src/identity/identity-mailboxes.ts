import type { RegisteredMailbox } from '@offshoot/proto/generated/offshoot/guest/v1/guest_service.js';
import { InvalidInput } from '@offshoot/shared/errors.js';
import {
  CLOCK_MAILBOX,
  CREDENTIAL_MAILBOX,
  ENTROPY_MAILBOX,
  NETWORK_MAILBOX,
  type ContentType,
} from '@offshoot/shared/mailbox/frame-layout.js';
import type { Delivery } from '@offshoot/shared/mailbox/segments.js';
import type { AckRoute } from '@offshoot/shared/mailbox/frame.js';
import { Mailbox, type Found } from '../mailbox/mailbox.js';
import { parseForkIdentity, type ForkIdentity } from './fork-identity.js';

/** The fields of an identity, before they are checked. */
type Fields = Readonly<Record<string, unknown>>;

/** One of the reserved mailboxes. */
interface IdentityMailbox {
  /** What its payload is. */
  readonly contentType: ContentType;
  /** What it brings of an identity. */
  readonly fieldsOf: (delivery: Delivery) => Fields;
  /** The same from an identity, as the host writes it; undefined where the identity has none of it. */
  readonly payloadOf: (identity: ForkIdentity) => Buffer | undefined;
}

/**
 * The reserved mailboxes. One more of the host's hand-offs is one entry here. The network comes first: it is the one that is
 * acknowledged, for all of them.
 */
const IDENTITY_MAILBOXES: Readonly<Record<string, IdentityMailbox>> = {
  [NETWORK_MAILBOX]: {
    contentType: 'json',
    fieldsOf: (delivery) => json(delivery, NETWORK_MAILBOX),
    payloadOf: ({ mac, ipv4, prefixLength, gateway, hostname, machineId }) =>
      Buffer.from(JSON.stringify({ mac, ipv4, prefixLength, gateway, hostname, machineId })),
  },
  [CLOCK_MAILBOX]: {
    contentType: 'json',
    fieldsOf: (delivery) => json(delivery, CLOCK_MAILBOX),
    payloadOf: ({ hostTimeMs }) => (hostTimeMs === undefined ? undefined : Buffer.from(JSON.stringify({ hostTimeMs }))),
  },
  [ENTROPY_MAILBOX]: {
    contentType: 'bytes',
    fieldsOf: ({ payload }) => ({ entropy: payload }),
    payloadOf: ({ entropy }) => entropy,
  },
  [CREDENTIAL_MAILBOX]: {
    contentType: 'bytes',
    fieldsOf: ({ payload }) => ({ credential: payload }),
    payloadOf: ({ credential }) => credential,
  },
};

const NO_ACK: AckRoute = { transport: 'none', port: 0, address: '0.0.0.0', nonce: 0n };

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
  private readonly mailboxes = Object.keys(IDENTITY_MAILBOXES).map((name) => new Mailbox(name));

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

  /** Fills them as the host does a paused VM's, for an agent that tries its wake; nobody is to answer for that. */
  deliver(identity: ForkIdentity): void {
    for (const mailbox of this.mailboxes) {
      const kind = IDENTITY_MAILBOXES[mailbox.name];
      const payload = kind?.payloadOf(identity);
      if (kind !== undefined && payload !== undefined) mailbox.deliver(payload, NO_ACK, kind.contentType);
    }
  }

  /** Leaves no frame of theirs in memory. They must not be used after that. */
  dispose(): void {
    for (const mailbox of this.mailboxes) mailbox.dispose();
  }

  registrations(): RegisteredMailbox[] {
    return this.mailboxes.flatMap((mailbox) => mailbox.registration() ?? []);
  }
}

function fieldsOf(found: ReadonlyMap<string, Found>): Fields {
  const fields: Record<string, unknown> = {};
  for (const [name, what] of found) {
    if ('corrupt' in what) throw what.corrupt;
    Object.assign(fields, IDENTITY_MAILBOXES[name]?.fieldsOf(what.delivery));
  }
  return fields;
}

function json({ contentType, payload }: Delivery, mailbox: string): Fields {
  const value: unknown = contentType === 'json' ? JSON.parse(payload.toString('utf8')) : undefined;
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value };
  throw new InvalidInput(`${mailbox}: the payload is not a JSON object`, { reason: 'FORK_IDENTITY_MALFORMED' });
}
