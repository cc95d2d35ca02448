import { relative } from 'node:path';
import { InvalidInput, Unsupported } from '@offshoot/shared/errors.js';
import type { LaunchSpec, MachineSpec } from '../../ports/driver.js';
import { assertRawDisk } from '../http-api/raw-disk.js';
import { filesOf } from './vmm-files.js';

/** Numbers of inherited descriptors, as the VMM sees them. */
export interface InheritedDescriptors {
  readonly api: number;
  readonly events: number;
  /** Only with a `tap` backend. */
  readonly tap?: number;
}

const MIB = 1024 * 1024;

/** Names of the devices: by these a capture's configuration is taken apart again (snapshot-config.ts). */
export const DEVICES = { memory: 'ram', disk: 'disk', card: 'net', vsock: 'vsock' } as const;

/** Each VM has its own vsock socket, so all guests may have the same address; 0 to 2 are taken (vsock(7)). */
const GUEST_CID = 3;

/**
 * A path as the VMM is told it: from its working directory, so that a fork's VMM finds its own. Within its options a comma,
 * a quote or a bracket would mean something.
 */
export function seenFrom({ directory }: Pick<MachineSpec, 'directory'>, path: string): string {
  const name = relative(directory, path);
  if (name === '' || name.startsWith('..'))
    throw InvalidInput.field('path', `must lie in the instance's folder ${directory}: ${path}`);
  if (/[,"[\]]/.test(name)) throw InvalidInput.field('path', `must be without , " [ and ]: ${name}`);
  return name;
}

/** Checks what can be known of a machine before its VMM is started. */
export function assertFits({ disk, nic, memoryBytes }: MachineSpec): void {
  assertRawDisk('cloud-hypervisor', 'Cloud Hypervisor', disk);
  if (nic.backend.kind === 'user')
    throw new Unsupported(
      'Cloud Hypervisor has no network stack of its own: it lacks the capability userNetwork; the daemon needs network.mode tap',
      { reason: 'CAPABILITY_MISSING', metadata: { driver: 'cloud-hypervisor', capability: 'userNetwork' } },
    );
  if (nic.backend.kind === 'named-tap') throw new TypeError('Cloud Hypervisor is handed its TAP open');
  if (memoryBytes % MIB !== 0)
    throw InvalidInput.field('memory', `must be a whole number of MiB, got ${String(memoryBytes)} bytes`);
}

/**
 * A VM that boots. `--no-shutdown`: when its guest powers off the VMM says so and stays, idle, until it is ended here;
 * otherwise that could not be told from a VMM that somebody told to end, and not be told at all to a daemon that comes later.
 */
export function launchArguments(spec: LaunchSpec, inherited: InheritedDescriptors): string[] {
  const { kernel, nic, disk } = spec;
  const files = filesOf(spec);
  const inFolder = (path: string): string => seenFrom(spec, path);
  return [
    ...commonArguments(inherited),
    ...['--cpus', `boot=${String(spec.vcpus)}`],
    // Memory that is shared with its file stays out of snapshots.
    ...['--memory', 'size=0'],
    '--memory-zone',
    `id=${DEVICES.memory},size=${String(spec.memoryBytes / MIB)}M,file=${inFolder(spec.memoryFile)},shared=on`,
    '--disk',
    `id=${DEVICES.disk},path=${inFolder(disk.path)},image_type=raw`,
    ...(inherited.tap === undefined
      ? []
      : ['--net', `id=${DEVICES.card},fd=[${String(inherited.tap)}],mac=${nic.mac}`]),
    ...['--vsock', `id=${DEVICES.vsock},cid=${String(GUEST_CID)},socket=${inFolder(files.vsock)}`],
    ...['--serial', `socket=${inFolder(files.serial)}`, '--console', 'off', '--pvpanic'],
    ...['--kernel', inFolder(files.kernel)],
    ...(kernel.initrd === undefined ? [] : [`--initramfs=${kernel.initrd}`]),
    // With the equals sign it may begin with a dash.
    `--cmdline=${kernel.commandLine}`,
  ];
}

/** A VM that is loaded from a folder, and stands. */
export function restoreArguments(
  spec: Pick<MachineSpec, 'directory' | 'runDirectory'>,
  inherited: InheritedDescriptors,
): string[] {
  const source = `source_url=file://${seenFrom(spec, filesOf(spec).snapshot)},resume=false`;
  const net = inherited.tap === undefined ? '' : `,net_fds=[${DEVICES.card}@[${String(inherited.tap)}]]`;
  return [...commonArguments(inherited), '--restore', `${source}${net}`];
}

const commonArguments = ({ api, events }: InheritedDescriptors): string[] => [
  ...['--api-socket', `fd=${String(api)}`, '--event-monitor', `fd=${String(events)}`, '--no-shutdown'],
];
