import { Qcow2Disks } from './qcow2-disks.js';
import { RawDisks } from './raw-disks.js';
import { describeDiskStorage } from './testing/conformance.js';
import { onFilesystem } from './testing/storage-lab.js';
import { ZFS_DOUBLE } from './zfs/testing/zfs-subjects.js';

// On a real pool: test/storage/zfs.test.ts, for the lab host.
for (const subject of [
  onFilesystem(new RawDisks('reflink'), 'xfs'),
  onFilesystem(new RawDisks('reflink'), 'btrfs'),
  onFilesystem(new Qcow2Disks(false), 'ext4'),
  onFilesystem(new Qcow2Disks(false), 'tmpfs'),
  onFilesystem(new RawDisks('sparse'), 'ext4'),
  onFilesystem(new RawDisks('sparse'), 'tmpfs'),
  ZFS_DOUBLE,
])
  describeDiskStorage(subject);
