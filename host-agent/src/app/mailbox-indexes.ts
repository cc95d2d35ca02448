import type { Logger } from 'pino';
import type { Capture, Instance, RegisteredMailbox } from '../domain/instance.js';
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

  /** For people: a parked instance's mailboxes as they stand in its memory, a running one's as its agent registered them. */
  async view(
    instance: Instance,
    registered: readonly RegisteredMailbox[] | undefined,
    signal: AbortSignal,
  ): Promise<readonly MailboxView[]> {
    if (instance.capture !== undefined) return this.of(this.paths.instance(instance.id), instance.capture).all(signal);
    return (registered ?? []).map(({ name, tokenFingerprint, state, segmentAddresses }) => ({
      name,
      tokenFingerprint,
      state,
      capacityBytes: segmentAddresses.length * SEGMENT_CAPACITY,
      generation: undefined,
      registered: true,
    }));
  }
}
