import { fileURLToPath } from 'node:url';

/** The repository; this file is compiled into test/dist/lab. */
export const REPOSITORY = fileURLToPath(new URL('../../../', import.meta.url));

/** Release of Debian inside. */
export const SUITE = 'bookworm';

/** Counted up when the layout of the system changes without any of its other inputs. */
const LAYOUT = 2;

/** What is installed beside Debian's minimal base, and what for. */
const PACKAGES: Readonly<Record<string, string>> = {
  binutils: 'ld: bare guest',
  e2fsprogs: 'mkfs.ext4',
  gcc: 'bare guest',
  iproute2: 'network namespaces of the tests, bridge of the tap network',
  kmod: 'modules on demand',
  nftables: 'rules of the tap network',
  procps: 'ps, for whoever looks into it',
  'qemu-system-x86': 'a hypervisor inside: KVM works there',
  'qemu-utils': 'qemu-img, qemu-io: disks of the tests',
  socat: 'AF_VSOCK by hand',
  sudo: 'the privileged helper of a daemon that is not root',
  udev: 'names of ZFS volumes',
  xfsprogs: 'file systems with reflinks',
  'zfs-dkms': 'ZFS',
  'zfsutils-linux': 'ZFS',
};

/** Of Debian's archive; ZFS is in contrib. */
export const COMPONENTS = ['main', 'contrib'] as const;

/** Everything the lab host's system is made of, but for the kernel. */
export const SYSTEM_INPUTS = { layout: LAYOUT, suite: SUITE, packages: Object.keys(PACKAGES).sort() };

/**
 * Its machine. SVM and nested paging are emulated, so that the kernel's kvm-amd works, as long as there is one processor (QEMU
 * 7.2). With two, a thread each, interrupts are lost after nested guests ran (lab-host.ts, where those of one are brought up again),
 * and everything waits for ever: four of five runs of the phases of 50 forks ended so. With two that share a thread, nested Linux
 * guests crash.
 */
export const MACHINE = {
  cpu: 'EPYC-v3,+svm,+npt',
  processors: 1,
  memoryMib: 6144,
} as const;

/** Where the repository is inside; `guest/fstab` mounts it there. */
export const REPOSITORY_INSIDE = '/srv/offshoot';

/** What a run brings along beside the repository's files, in this folder of it: programs, and the list of tests. */
export const RUN_FOLDER = '.lab';
