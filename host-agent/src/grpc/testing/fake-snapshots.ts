import { InvalidState, NotFound } from '@offshoot/shared/errors.js';
import type { SnapshotOperations } from '../../app/commands.js';
import type { Snapshot } from '../../domain/snapshot.js';

/** What stands behind SnapshotService where a test is about the others: a host that has no snapshots, and none to take. */
export class FakeSnapshots implements SnapshotOperations {
  create = (): Promise<never> =>
    Promise.reject(new InvalidState('there is nothing to take a snapshot of', { reason: 'INSTANCE_STATE' }));
  get = (reference: string): Snapshot => none(reference);
  mailboxesOf = (reference: string): Promise<never> => Promise.resolve().then(() => none(reference));
  list = (): { snapshots: readonly Snapshot[]; nextPageToken: string } => ({ snapshots: [], nextPageToken: '' });
  restore = (reference: string): Promise<never> => Promise.resolve().then(() => none(reference));
  verify = (reference: string): Promise<Snapshot> => Promise.resolve().then(() => none(reference));
  delete = (reference: string): Promise<void> => Promise.resolve().then(() => none(reference));
  directoryOf = ({ id }: Snapshot): string => `/snapshots/${id}`;
  allocatedBytes = (): Promise<number> => Promise.resolve(0);
}

function none(reference: string): never {
  throw new NotFound(`no snapshot has the id or name ${JSON.stringify(reference)}`, {
    reason: 'SNAPSHOT_NOT_FOUND',
    metadata: { snapshot: reference },
  });
}
