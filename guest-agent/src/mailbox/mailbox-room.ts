import { AlreadyExists, Capacity, InvalidInput } from '@offshoot/shared/errors.js';
import { checkMailboxName } from '@offshoot/shared/mailbox/ack-line.js';
import { RESERVED_NAME_PREFIX } from '@offshoot/shared/mailbox/frame-layout.js';

/** Mailboxes guest software may have with the agent, armed by it or attached. */
export const MAX_USER_MAILBOXES = 64;
/** Frames of all of them together: 4 MiB. A registration names each, and the host looks at 4096 in a VM. */
export const MAX_USER_SEGMENTS = 1024;

interface Claim {
  readonly holder: object;
  readonly segments: number;
}

/** The names and the room that guest software's mailboxes share, whoever has their frames. */
export class MailboxRoom {
  private readonly claims = new Map<string, Claim>();

  /**
   * Takes a name for a holder, or changes how much room it takes there.
   * @throws InvalidInput for a malformed or reserved name; AlreadyExists when somebody else holds it; Capacity
   */
  claim(name: string, holder: object, segments: number): void {
    checkUserName(name);
    const present = this.claims.get(name);
    if (present !== undefined && present.holder !== holder)
      throw new AlreadyExists(`mailbox ${name} is armed or attached by somebody else`, {
        reason: 'MAILBOX_NAME_TAKEN',
        metadata: { name },
      });
    if (present === undefined && this.claims.size >= MAX_USER_MAILBOXES)
      throw full(`${String(MAX_USER_MAILBOXES)} mailboxes are armed or attached; dispose of one first`);
    const others = [...this.claims].reduce((sum, [other, claim]) => sum + (other === name ? 0 : claim.segments), 0);
    if (others + segments > MAX_USER_SEGMENTS)
      throw full(`mailboxes have ${String(others)} of ${String(MAX_USER_SEGMENTS)} frames; dispose of one first`);
    this.claims.set(name, { holder, segments });
  }

  release(name: string): void {
    this.claims.delete(name);
  }
}

/** @throws InvalidInput unless guest software may use the name */
export function checkUserName(name: string): void {
  checkMailboxName('name', name);
  if (name.startsWith(RESERVED_NAME_PREFIX))
    throw InvalidInput.field(
      'name',
      `names beginning with ${RESERVED_NAME_PREFIX} are reserved`,
      'MAILBOX_NAME_RESERVED',
    );
}

const full = (message: string): Capacity => new Capacity(message, { reason: 'MAILBOX_LIMIT' });
