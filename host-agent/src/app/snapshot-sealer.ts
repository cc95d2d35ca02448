import PQueue from 'p-queue';
import { messageOf } from '@offshoot/shared/errors.js';
import type { SnapshotId } from '../domain/ids.js';
import type { Snapshot } from '../domain/snapshot.js';
import { abortable } from './abortable.js';
import type { Dependencies } from './dependencies.js';

interface Sealing {
  readonly abort: AbortController;
  readonly done: Promise<Snapshot>;
}

/**
 * Makes snapshots durable: writes their files through to stable storage and takes their checksums, one snapshot after the
 * other in the background, since that takes as long as the disk takes.
 */
export class SnapshotSealer {
  private readonly queue = new PQueue({ concurrency: 1 });
  private readonly underWay = new Map<SnapshotId, Sealing>();

  constructor(private readonly parts: Pick<Dependencies, 'snapshots' | 'snapshotFiles' | 'logger'>) {}

  /** Begins, or joins what was begun; the snapshot once it is durable. A caller that gives up does not end the work. */
  async seal(snapshot: Snapshot, signal: AbortSignal): Promise<Snapshot> {
    if (snapshot.checksums !== undefined) return snapshot;
    return abortable(this.begin(snapshot).done, signal);
  }

  /** Begins without waiting; a failure is logged, and tried again at the daemon's next start. */
  sealInBackground(snapshot: Snapshot): void {
    if (snapshot.checksums !== undefined) return;
    this.begin(snapshot).done.catch((error: unknown) => {
      this.parts.logger.warn({ snapshot: snapshot.id, error: messageOf(error) }, 'the snapshot is not yet durable');
    });
  }

  /** Ends the work on a snapshot that is being deleted. */
  async forget(id: SnapshotId): Promise<void> {
    const sealing = this.underWay.get(id);
    sealing?.abort.abort(new Error('the snapshot is being deleted'));
    await sealing?.done.catch(() => undefined);
  }

  async close(): Promise<void> {
    for (const { abort } of this.underWay.values()) abort.abort(new Error('the daemon is stopping'));
    await Promise.allSettled([...this.underWay.values()].map(({ done }) => done));
  }

  private begin(snapshot: Snapshot): Sealing {
    const known = this.underWay.get(snapshot.id);
    if (known !== undefined) return known;
    const abort = new AbortController();
    const done = this.queue
      .add(() => this.sealNow(snapshot, abort.signal))
      .finally(() => {
        this.underWay.delete(snapshot.id);
      });
    done.catch(() => undefined); // whoever waits is told
    const sealing = { abort, done };
    this.underWay.set(snapshot.id, sealing);
    return sealing;
  }

  private async sealNow(snapshot: Snapshot, signal: AbortSignal): Promise<Snapshot> {
    const { snapshots, snapshotFiles } = this.parts;
    signal.throwIfAborted();
    await snapshotFiles.assertUnchanged(snapshot); // what was altered before must not get a checksum
    await snapshotFiles.flush(snapshot, signal);
    const sealed = { ...snapshot, checksums: await snapshotFiles.checksumsOf(snapshot, signal) };
    await snapshotFiles.save(sealed);
    snapshots.update(sealed);
    return sealed;
  }
}
