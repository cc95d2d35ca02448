/** How a hypervisor reads a disk. */
export type DiskFormat = 'qcow2' | 'raw';

/**
 * The ways in which disks are kept, as each instance and snapshot records its own: `overlay`, qcow2 layers over the image;
 * `reflink`, raw files that share blocks; `sparse`, raw files copied by their extents; `zfs`, a zvol for each disk.
 */
export const STORAGE_NAMES = ['overlay', 'reflink', 'sparse', 'zfs'] as const;
export type StorageName = (typeof STORAGE_NAMES)[number];

/** Whether the disk goes with its folder: there is nothing of it elsewhere. */
export const DISKS_IN_FOLDERS: Readonly<Record<StorageName, boolean>> = {
  overlay: true,
  reflink: true,
  sparse: true,
  zfs: false,
};

/** What the disks of each are to a hypervisor. */
export const DISK_FORMATS: Readonly<Record<StorageName, DiskFormat>> = {
  overlay: 'qcow2',
  reflink: 'raw',
  sparse: 'raw',
  zfs: 'raw',
};
