import type { Logger } from 'pino';
import type { InstanceId } from '../domain/ids.js';
import type { Capture, Instance, RegisteredMailbox } from '../domain/instance.js';
import { MailboxIndex } from '../mailbox/mailbox-index.js';
import { SEGMENT_CAPACITY } from '@offshoot/shared/mailbox/frame-layout.js';
import type { StatePaths } from '../paths.js';
import type { MailboxView } from './commands.js';

/** The mailbox indexes of parked instances, each opened once for as long as its capture lives. */
export class MailboxIndexes {
  private readonly indexes = new Map<InstanceId, { readonly takenAt: string; readonly index: MailboxIndex }>();

  constructor(
    private readonly paths: StatePaths,
    private readonly logger: Logger,
  ) {}

  of(id: InstanceId, capture: Capture): MailboxIndex {
    const known = this.indexes.get(id);
    if (known?.takenAt === capture.takenAt) return known.index;
    const index = new MailboxIndex(this.paths.instance(id), capture, this.logger.child({ instance: id }));
    this.indexes.set(id, { takenAt: capture.takenAt, index });
    return index;
  }

  /** The capture is gone, or another one comes. */
  forget(id: InstanceId): void {
    this.indexes.delete(id);
  }

  /** For people: a parked instance's mailboxes as they stand in its memory, a running one's as its agent registered them. */
  async view(
    instance: Instance,
    registered: readonly RegisteredMailbox[] | undefined,
    signal: AbortSignal,
  ): Promise<readonly MailboxView[]> {
    if (instance.capture !== undefined) return this.of(instance.id, instance.capture).all(signal);
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
