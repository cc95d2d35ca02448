import { basename, join } from 'node:path';
import { InvalidInput } from '@offshoot/shared/errors.js';
import type { ImageId, InstanceId, SnapshotId } from './domain/ids.js';
import { isLayerName, type LayerName } from './domain/layer-name.js';
import type { DiskFormat } from './domain/storage-name.js';

/** Linux allows 108 bytes with the NUL for a Unix socket's path; Node cuts a longer one off without a word. */
const MAX_SOCKET_PATH = 107;
const LONGEST_SOCKET = '/instances/01hxxxxxxxxxxxxxxxxxxxxxxx/run/channel.sock';

/**
 * Of the file that takes a disk's writes. The same in every folder: hypervisors write the name into their device state, from
 * which forks are made in other folders.
 */
export const DISK_FILES: Readonly<Record<DiskFormat, string>> = { qcow2: 'disk.qcow2', raw: 'disk.raw' };

/** Leads to a disk's ZFS volume by the name the volume has. */
const VOLUME_LINK = 'disk.zvol';

/** Whether a file in a folder belongs to its disk. */
export const isDiskFile = (name: string): boolean =>
  Object.values(DISK_FILES).includes(name) || name === VOLUME_LINK || isLayerName(name);

/** Every path in the state directory, in one place. */
export class StatePaths {
  constructor(readonly root: string) {
    const longest = Buffer.byteLength(root) + LONGEST_SOCKET.length;
    if (!root.startsWith('/'))
      throw InvalidInput.field('state_dir', `must be an absolute path, got ${JSON.stringify(root)}`);
    if (longest > MAX_SOCKET_PATH)
      throw InvalidInput.field(
        'state_dir',
        `must be at most ${String(MAX_SOCKET_PATH - LONGEST_SOCKET.length)} bytes long (sockets lie in it), got ${String(Buffer.byteLength(root))}: ${root}`,
      );
  }

  get lockFile(): string {
    return join(this.root, 'offshootd.lock');
  }
  get database(): string {
    return join(this.root, 'state.db');
  }
  get instances(): string {
    return join(this.root, 'instances');
  }
  get images(): string {
    return join(this.root, 'images');
  }
  /** Captures of running instances, each for the forks of one call. */
  get captures(): string {
    return join(this.root, 'captures');
  }
  capture(id: string): CapturePaths {
    return new CapturePaths(join(this.captures, id));
  }
  get snapshots(): string {
    return join(this.root, 'snapshots');
  }
  snapshot(id: SnapshotId): SnapshotPaths {
    return new SnapshotPaths(join(this.snapshots, id));
  }
  image(id: ImageId): string {
    return join(this.images, id);
  }
  instance(id: InstanceId): InstancePaths {
    return new InstancePaths(join(this.instances, id));
  }
}

/** The files of one moment of an instance: what a fork is made from. */
export class CapturePaths {
  constructor(
    readonly root: string,
    /** Of the instance, snapshot or capture whose files these are, also where the folder does not have its name yet. */
    readonly id = basename(root),
  ) {}

  /** The file that takes the disk's writes. */
  disk(format: DiskFormat): string {
    return join(this.root, DISK_FILES[format]);
  }
  /** Says which ZFS volume a raw {@link disk} is. */
  get volumeLink(): string {
    return join(this.root, VOLUME_LINK);
  }
  /** A file a qcow2 {@link disk} stands on. */
  layer(name: LayerName): string {
    return join(this.root, name);
  }
  /** RAM of a VM booted here, or a hard link to the base of a fork. */
  get memory(): string {
    return join(this.root, 'memory');
  }
  get deviceState(): string {
    return join(this.root, 'device-state');
  }
  /** Mailboxes found in the capture's memory. */
  get mailboxIndex(): string {
    return join(this.root, 'mailboxes.json');
  }
  /** What the agent is told to run, in the order it is told. */
  get workload(): string {
    return join(this.root, 'workload.json');
  }
}

/** The folder of one snapshot. It describes itself: `snapshot.json` is the row of the database. */
export class SnapshotPaths extends CapturePaths {
  get record(): string {
    return join(this.root, 'snapshot.json');
  }
}

/** The folder of one instance. It describes itself: `instance.json` is the row of the database. */
export class InstancePaths extends CapturePaths {
  get record(): string {
    return join(this.root, 'instance.json');
  }
  /** RAM of a private clone captured here, until it replaces {@link memory}. */
  get nextMemory(): string {
    return join(this.root, 'memory.next');
  }
  /** Files that are to take the place of the instance's own, put together here. */
  get next(): CapturePaths {
    return new CapturePaths(join(this.root, 'next'), this.id);
  }
  get run(): string {
    return join(this.root, 'run');
  }
  get logs(): string {
    return join(this.root, 'logs');
  }
  get workloadLog(): string {
    return join(this.logs, 'workload.log');
  }
  get consoleLog(): string {
    return join(this.logs, 'console.log');
  }
  get vmmLog(): string {
    return join(this.logs, 'vmm.log');
  }
}
