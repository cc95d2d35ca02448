import type { ImageId } from '../domain/ids.js';
import type { ImageUsers } from '../ports/image-store.js';
import type { InstanceStore } from '../ports/instance-store.js';
import type { SnapshotStore } from '../ports/snapshot-store.js';

/** What of this daemon has disks on an image, in whatever state it is: disks refer to the image for as long as they are there. */
export const ownUsersOf =
  (store: InstanceStore, snapshots: SnapshotStore) =>
  (image: ImageId, limit = Infinity): Omit<ImageUsers, 'daemons'> => ({
    instances: store.list({ image, limit }).map(({ name }) => name),
    snapshots: snapshots.list({ image, limit }).map(({ name }) => name),
  });
