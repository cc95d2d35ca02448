import { isLab } from '../../harness/is-lab.js';
import type { Subject } from '../subject.js';
import { CLOUD_HYPERVISOR } from './cloud-hypervisor.js';
import { FIRECRACKER, FIRECRACKER_JAILED } from './firecracker.js';
import { QEMU_KVM, QEMU_TCG } from './qemu.js';

const ON_KVM = [QEMU_KVM, FIRECRACKER, FIRECRACKER_JAILED, CLOUD_HYPERVISOR];

/** Every driver passes the same suite. In the lab host (test/lab), which is emulated itself, those that have KVM there. */
export const SUBJECTS: readonly Subject[] = isLab ? ON_KVM : [QEMU_TCG, ...ON_KVM];
