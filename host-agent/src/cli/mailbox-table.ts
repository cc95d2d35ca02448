import { MailboxArmedBy, MailboxState, type Mailbox } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import { table } from './tables.js';

/** The mailboxes of an instance or a snapshot, for people. */
export const describeMailboxes = (mailboxes: readonly Mailbox[]): string =>
  mailboxes.length === 0
    ? 'No mailboxes.'
    : table(
        ['MAILBOX', 'STATE', 'TOKEN', 'SEGMENTS', 'CAPACITY', 'GENERATION', 'ARMED BY', 'FOUND BY'],
        mailboxes.map((mailbox) => [
          mailbox.name,
          MailboxState[mailbox.state].replace('MAILBOX_STATE_', '').toLowerCase(),
          mailbox.token ?? mailbox.tokenFingerprint,
          mailbox.segmentsFound === mailbox.segments
            ? String(mailbox.segments)
            : `${String(mailbox.segmentsFound)} of ${String(mailbox.segments)}`,
          `${String(mailbox.capacityBytes)} B`,
          mailbox.generation === undefined ? '' : String(mailbox.generation),
          mailbox.armedBy === MailboxArmedBy.MAILBOX_ARMED_BY_AGENT ? 'agent' : 'program',
          mailbox.registered ? 'registration' : 'scan',
        ]),
      );
