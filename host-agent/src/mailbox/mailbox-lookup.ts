import { RESERVED_NAME_PREFIX } from '@offshoot/shared/mailbox/frame-layout.js';
import type { IndexedMailbox } from './indexed-mailbox.js';

/** What is known of the mailboxes somebody asked for. */
export class MailboxLookup {
  constructor(
    private readonly mailboxes: readonly IndexedMailbox[],
    /** Whether the search for unregistered mailboxes ended early: what it found may then not be all there is. */
    readonly limitReached: boolean,
  ) {}

  /** The mailboxes of this name, more than one only when none of them is registered. */
  named(name: string): readonly IndexedMailbox[] {
    return this.mailboxes.filter((mailbox) => mailbox.name === name);
  }

  /** Names of armed mailboxes a caller could have meant, sorted; the reserved ones are not for callers. */
  get armedNames(): readonly string[] {
    const armed = this.mailboxes.filter(
      ({ state, name }) => state === 'armed' && !name.startsWith(RESERVED_NAME_PREFIX),
    );
    return [...new Set(armed.map(({ name }) => name))].sort();
  }
}
