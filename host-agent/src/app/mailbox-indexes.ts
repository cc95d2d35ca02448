import type { Logger } from 'pino';
import type { Capture, Instance, RegisteredMailbox } from '../domain/instance.js';
import { armedBy, type IndexedMailbox } from '../mailbox/indexed-mailbox.js';
import { MailboxIndex } from '../mailbox/mailbox-index.js';
import { SEGMENT_CAPACITY } from '@offshoot/shared/mailbox/frame-layout.js';
import type { CapturePaths, StatePaths } from '../paths.js';
import type { MailboxView } from './commands.js';

/** The mailbox indexes of captures, each opened once for as long as its capture lives. */
export class MailboxIndexes {
  private readonly indexes = new Map<string, { readonly takenAt: string; readonly index: MailboxIndex }>();

  constructor(
    private readonly paths: StatePaths,
    private readonly logger: Logger,
  ) {}

  of(files: CapturePaths, capture: Capture): MailboxIndex {
    const known = this.indexes.get(files.root);
    if (known?.takenAt === capture.takenAt) return known.index;
    const index = new MailboxIndex(files, capture, this.logger.child({ capture: files.root }));
    this.indexes.set(files.root, { takenAt: capture.takenAt, index });
    return index;
  }

  /** The capture is gone, or another one comes. */
  forget(files: CapturePaths): void {
    this.indexes.delete(files.root);
  }

  /** The mailboxes of a capture as they stand in its memory, sorted by name. */
  async viewOf(
    files: CapturePaths,
    capture: Capture,
    { tokens }: { readonly tokens: boolean },
    signal: AbortSignal,
  ): Promise<readonly MailboxView[]> {
    const index = this.of(files, capture);
    const mailboxes = (await index.all(signal)).toSorted(byName);
    const tokenOf = tokens ? await index.tokensOf(mailboxes) : undefined;
    return mailboxes.map((mailbox) => {
      const token = tokenOf?.get(mailbox);
      return token === undefined ? viewOfIndexed(mailbox) : { ...viewOfIndexed(mailbox), token };
    });
  }

  /** A parked instance's mailboxes as they stand in its memory, a running one's as its agent registered them. */
  async viewOfInstance(
    instance: Instance,
    registered: readonly RegisteredMailbox[] | undefined,
    signal: AbortSignal,
  ): Promise<readonly MailboxView[]> {
    const { capture } = instance;
    if (capture !== undefined) return this.viewOf(this.paths.instance(instance.id), capture, { tokens: false }, signal);
    return (registered ?? []).map(viewOfRegistered).toSorted(byName);
  }
}

const byName = (a: { readonly name: string }, b: { readonly name: string }): number =>
  a.name < b.name ? -1 : a.name > b.name ? 1 : 0;

const viewOfIndexed = ({ segmentAddresses, registered, ...mailbox }: IndexedMailbox): MailboxView => ({
  name: mailbox.name,
  tokenFingerprint: mailbox.tokenFingerprint,
  state: mailbox.state,
  capacityBytes: mailbox.capacityBytes,
  generation: mailbox.generation,
  registered,
  segments: segmentAddresses.length,
  segmentsFound: segmentAddresses.filter((gpa) => gpa !== undefined).length,
  armedBy: mailbox.armedBy,
});

const viewOfRegistered = (registration: RegisteredMailbox): MailboxView => {
  const { name, tokenFingerprint, state, segmentAddresses } = registration;
  return {
    name,
    tokenFingerprint,
    state,
    capacityBytes: segmentAddresses.length * SEGMENT_CAPACITY,
    generation: undefined,
    registered: true,
    segments: segmentAddresses.length,
    segmentsFound: segmentAddresses.length,
    armedBy: armedBy(registration),
  };
};
