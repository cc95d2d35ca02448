import type { Logger } from 'pino';
import type { DriverName } from '../domain/driver-capabilities.js';
import type { StatePaths } from '../paths.js';
import type { AckListener } from '../ports/ack-listener.js';
import type { Answers } from '../ports/answers.js';
import type { DiskPreparer } from '../ports/disk-preparer.js';
import type { HypervisorDriver } from '../ports/driver.js';
import type { GuestLinkFactory } from '../ports/guest-link.js';
import type { DatasetAccess, HelperAccess } from '../ports/host-access.js';
import type { ImageStore } from '../ports/image-store.js';
import type { InstanceFiles } from '../ports/instance-files.js';
import type { InstanceStore } from '../ports/instance-store.js';
import type { Journal } from '../ports/journal.js';
import type { Network } from '../ports/network.js';
import type { OrphanProcesses } from '../ports/orphan-processes.js';
import type { SnapshotFiles } from '../ports/snapshot-files.js';
import type { SnapshotStore } from '../ports/snapshot-store.js';
import type { DiskStorages } from './disk-storages.js';

/** The adapters the operations work with; wired in main.ts alone. */
export interface Dependencies {
  readonly version: string;
  readonly paths: StatePaths;
  readonly store: InstanceStore;
  readonly journal: Journal;
  readonly answers: Answers;
  readonly files: InstanceFiles;
  readonly snapshots: SnapshotStore;
  readonly snapshotFiles: SnapshotFiles;
  readonly drivers: ReadonlyMap<DriverName, HypervisorDriver>;
  readonly defaultDriver: DriverName;
  readonly network: Network;
  readonly images: ImageStore;
  readonly disks: DiskStorages;
  readonly diskPreparer: DiskPreparer;
  readonly orphans: OrphanProcesses;
  /** Undefined where none is configured, as with the next one. */
  readonly zfs: DatasetAccess | undefined;
  readonly helper: HelperAccess | undefined;
  readonly guestLinks: GuestLinkFactory;
  readonly acks: AckListener;
  readonly limits: {
    readonly instances: number;
    readonly bootMs: number;
    /** How long a running VM may stand still for its capture. */
    readonly pauseMs: number;
    readonly memoryReserveBytes: number;
  };
  readonly logger: Logger;
}
