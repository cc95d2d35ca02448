import { parseSnapshotId } from '../domain/ids.js';
import type { Instance } from '../domain/instance.js';
import type { Snapshot } from '../domain/snapshot.js';
import type {
  CreateSnapshotCommand,
  CreatedSnapshot,
  ListSnapshotsCommand,
  MailboxView,
  SnapshotOperations,
} from './commands.js';
import type { Context } from './context.js';
import type { RequestIdentity } from '../ports/answers.js';
import { createSnapshot } from './create-snapshot.js';
import { deleteSnapshot } from './delete-snapshot.js';
import type { IdempotentCalls } from './idempotent-calls.js';
import { operate } from './operate.js';
import { parsePageToken } from './page-token.js';
import { restoreSnapshot } from './restore-snapshot.js';
import { verifySnapshot } from './verify-snapshot.js';

/** Everything that can be asked of snapshots but for their forks, which are made as those of instances are. */
export class SnapshotService implements SnapshotOperations {
  constructor(
    private readonly context: Context,
    private readonly calls: IdempotentCalls,
  ) {}

  create(command: CreateSnapshotCommand, signal: AbortSignal, request?: RequestIdentity): Promise<CreatedSnapshot> {
    return this.operate(request, signal, (context, s) => createSnapshot(context, command, s));
  }

  get(reference: string): Snapshot {
    return this.context.snapshots.resolve(reference);
  }

  async mailboxesOf(
    reference: string,
    options: { readonly tokens: boolean },
    signal: AbortSignal,
  ): Promise<readonly MailboxView[]> {
    const { id } = this.get(reference);
    using _lock = await this.context.locks.shared(id, signal);
    const { capture } = this.get(id);
    if (capture === undefined) return [];
    return await this.context.mailboxIndexes.viewOf(this.context.paths.snapshot(id), capture, options, signal);
  }

  list({ pageSize, pageToken, instance, labels }: ListSnapshotsCommand): {
    snapshots: readonly Snapshot[];
    nextPageToken: string;
  } {
    const snapshots = this.context.snapshots.list({
      labels,
      limit: pageSize,
      ...(instance === '' ? {} : { source: this.context.store.resolve(instance).id }),
      ...(pageToken === '' ? {} : { after: parsePageToken(pageToken, parseSnapshotId) }),
    });
    return { snapshots, nextPageToken: snapshots.length === pageSize ? (snapshots.at(-1)?.id ?? '') : '' };
  }

  restore(
    reference: string,
    signal: AbortSignal,
    request?: RequestIdentity,
  ): Promise<{ instance: Instance; restoreMs: number }> {
    return this.operate(request, signal, (context, s) => restoreSnapshot(context, reference, s));
  }

  verify(reference: string, signal: AbortSignal): Promise<Snapshot> {
    return this.context.underWay.run(signal, (s) => verifySnapshot(this.context, reference, s));
  }

  delete(reference: string, signal: AbortSignal, request?: RequestIdentity): Promise<void> {
    return this.operate(request, signal, (context, s) => deleteSnapshot(context, reference, s));
  }

  directoryOf({ id }: Snapshot): string {
    return this.context.paths.snapshot(id).root;
  }

  async allocatedBytes(snapshot: Snapshot): Promise<number> {
    const { snapshotFiles, disks, paths } = this.context;
    const [rest, disk] = await Promise.all([
      snapshotFiles.allocatedBytes(snapshot.id),
      disks.usage(snapshot, paths.snapshot(snapshot.id)),
    ]);
    return rest + disk.ownBytes + disk.sharedBytes;
  }

  private operate<Result>(
    request: RequestIdentity | undefined,
    signal: AbortSignal,
    run: (context: Context, signal: AbortSignal) => Promise<Result>,
  ): Promise<Result> {
    return operate(this.context, this.calls, request, signal, run);
  }
}
