import { relative } from 'node:path';
import { InvalidInput, Unsupported } from '@offshoot/shared/errors.js';
import type { LaunchSpec, MachineSpec, RestoreSpec } from '../../ports/driver.js';
import type { ApiCall } from '../http-api/http-api.js';
import { assertRawDisk } from '../http-api/raw-disk.js';
import { consoleLog } from '../vmm-log.js';
import { CONSOLE_LIMIT } from './console-log.js';
import { socketsOf } from './vmm-sockets.js';

const MIB = 1024 * 1024;

/** Names of the devices in the API, and in the device state of captures. */
const DISK = 'disk';
const CARD = 'net';

/** Each VM has its own vsock, so all guests may have the same address; 0 to 2 are taken (vsock(7)). */
const GUEST_CID = 3;

/**
 * What a kernel has to know of the machine: there is no PCI to look for, nor a mouse; a reset goes over the keyboard
 * controller, which is the only way for a guest to end the VM, so the agent takes it for powering off, too.
 */
const MACHINE_PARAMETERS = 'pci=off i8042.noaux i8042.nomux i8042.dumbkbd reboot=k offshoot.power_off=reset';

/**
 * A path as the VMM is told it: from its working directory. The device state holds disk and vsock by these names, so that a
 * fork's VMM, in a folder of its own, finds its own.
 */
export function seenFrom({ directory }: Pick<MachineSpec, 'directory'>, path: string): string {
  const name = relative(directory, path);
  if (name !== '' && !name.startsWith('..')) return name;
  throw InvalidInput.field('path', `must lie in the instance's folder ${directory}: ${path}`);
}

/** Checks what can be known of a machine before its VMM is started. */
export function assertFits({ disk, nic, memoryBytes }: MachineSpec): void {
  assertRawDisk('firecracker', 'Firecracker', disk);
  if (nic.backend.kind === 'user')
    throw new Unsupported(
      'Firecracker has no network stack of its own: it lacks the capability userNetwork; the daemon needs network.mode tap',
      { reason: 'CAPABILITY_MISSING', metadata: { driver: 'firecracker', capability: 'userNetwork' } },
    );
  if (nic.backend.kind === 'tap') throw new TypeError('Firecracker opens TAPs by their name');
  if (memoryBytes % MIB !== 0)
    throw InvalidInput.field('memory', `must be a whole number of MiB, got ${String(memoryBytes)} bytes`);
}

/** What boots a VM, in this order. */
export function bootRequests(spec: LaunchSpec): readonly ApiCall[] {
  const { kernel, nic } = spec;
  return [
    consoleRequest(spec),
    put('/machine-config', { vcpu_count: spec.vcpus, mem_size_mib: spec.memoryBytes / MIB }),
    put('/boot-source', {
      kernel_image_path: kernel.vmlinux,
      boot_args: `${kernel.commandLine} ${MACHINE_PARAMETERS}`,
      ...(kernel.initrd === undefined ? {} : { initrd_path: kernel.initrd }),
    }),
    // No "root device", for which it would add to the kernel's command line.
    put(`/drives/${DISK}`, {
      drive_id: DISK,
      path_on_host: seenFrom(spec, spec.disk.path),
      is_root_device: false,
      is_read_only: false,
    }),
    ...(nic.backend.kind === 'named-tap'
      ? [
          put(`/network-interfaces/${CARD}`, {
            iface_id: CARD,
            guest_mac: nic.mac,
            host_dev_name: nic.backend.name,
          }),
        ]
      : []),
    put('/vsock', { guest_cid: GUEST_CID, uds_path: seenFrom(spec, socketsOf(spec).vsock) }),
    put('/entropy', {}),
    put('/actions', { action_type: 'InstanceStart' }),
  ];
}

/**
 * What loads a capture, paused, in this order. Dirty pages are logged from then on, without which a later capture would write
 * everything that is in the page cache of the base: 1.3 s and 522 MB instead of what changed, for 512 MiB of RAM. Overrides are
 * there in every version that is taken (network from 1.12, vsock from 1.16).
 */
export function loadRequests(spec: RestoreSpec): readonly ApiCall[] {
  const { backend } = spec.nic;
  return [
    consoleRequest(spec),
    put('/snapshot/load', {
      snapshot_path: spec.stateFile,
      mem_backend: { backend_type: 'File', backend_path: spec.memoryFile },
      track_dirty_pages: true,
      resume_vm: false,
      ...(backend.kind === 'named-tap' ? { network_overrides: [{ iface_id: CARD, host_dev_name: backend.name }] } : {}),
      vsock_override: { uds_path: seenFrom(spec, socketsOf(spec).vsock) },
    }),
  ];
}

const consoleRequest = (spec: MachineSpec): ApiCall =>
  put('/serial', { serial_out_path: seenFrom(spec, consoleLog(spec)), rate_limiter: CONSOLE_LIMIT });

const put = (path: string, body: ApiCall['body'] & object): ApiCall => ({ method: 'PUT', path, body });
