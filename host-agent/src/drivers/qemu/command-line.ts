import { join } from 'node:path';
import { InvalidInput } from '@offshoot/shared/errors.js';
import type { LaunchSpec, MachineSpec, NicBackend } from '../../ports/driver.js';
import type { MachineFacts } from './installation.js';

/** Numbers of inherited descriptors, as the VMM sees them. */
export interface InheritedDescriptors {
  readonly qmp: number;
  readonly channel: number;
  /** Only with a `tap` backend. */
  readonly tap?: number;
}

const MIB = 1024 * 1024;

/** A value inside QEMU's comma-separated options: a comma is doubled, nothing else means anything. */
const escaped = (value: string): string => value.replaceAll(',', ',,');

/**
 * What must be the same for a source and its clones: every device, in this order and at these addresses, because the device
 * state names them by address. Beside it only where the RAM comes from, and the host's ends of disk, network and sockets.
 *
 * Left out of q35: SATA, SMBus, USB, HPET, vmport and SMM, which no guest of ours uses and each start would pay for (a bare
 * q35 takes commands after 33 ms instead of 38, medians on QEMU 7.2), and the network card's boot ROM. Modern virtio only: the
 * legacy registers in I/O space are of no use to our guests.
 */
export function machineArguments(
  machine: MachineFacts,
  spec: Omit<MachineSpec, 'directory'>,
  inherited: InheritedDescriptors,
  memory: { readonly share: boolean },
): string[] {
  if (spec.memoryBytes % MIB !== 0)
    throw InvalidInput.field('memory', `must be a whole number of MiB, got ${String(spec.memoryBytes)} bytes`);
  const megabytes = `${String(spec.memoryBytes / MIB)}M`;
  const share = memory.share ? 'on' : 'off';
  return [
    ['-no-user-config', '-nodefaults', '-no-reboot', '-display', 'none'],
    // Everything a VMM has no business doing: obsolete calls, other users' rights, programs, priorities.
    ['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    // The stream of xen-save-devices-state has neither of these sections; a VM that expects them does not load it.
    ['-global', 'migration.send-configuration=off'],
    [
      '-machine',
      `${machine.machineType},memory-backend=ram,suppress-vmdesc=on,mem-merge=off,dump-guest-core=off,` +
        'smm=off,hpet=off,vmport=off,sata=off,smbus=off,usb=off,graphics=off',
    ],
    ['-accel', ACCELERATOR_OPTIONS[machine.accelerator]],
    ['-cpu', machine.cpuArgument],
    ['-smp', String(spec.vcpus)],
    ['-m', megabytes],
    [
      '-object',
      `memory-backend-file,id=ram,size=${megabytes},share=${share},prealloc=off,mem-path=${escaped(spec.memoryFile)}`,
    ],
    ['-chardev', `socket,id=qmp,fd=${String(inherited.qmp)},server=on,wait=off`, '-mon', 'chardev=qmp,mode=control'],
    ['-chardev', `file,id=${CONSOLE_CHARDEV},append=on,path=${escaped(join(spec.logDirectory, 'console.log'))}`],
    ['-serial', `chardev:${CONSOLE_CHARDEV}`],
    ['-blockdev', JSON.stringify(diskNode(DISK_NODE, spec.disk))],
    ['-device', `virtio-blk-pci,drive=${DISK_NODE},addr=0x1,disable-legacy=on`],
    networkCard(spec.nic, inherited.tap),
    ['-device', 'virtio-serial-pci,id=serial,addr=0x3,disable-legacy=on,max_ports=2'],
    ['-chardev', `socket,id=channel,fd=${String(inherited.channel)},server=on,wait=off`],
    ['-device', 'virtserialport,bus=serial.0,nr=1,chardev=channel,name=offshoot.0'],
    ['-object', 'rng-builtin,id=rng', '-device', 'virtio-rng-pci,rng=rng,addr=0x4,disable-legacy=on'],
    ['-device', 'vmgenid,guid=auto', '-device', 'pvpanic'],
  ].flat();
}

/** What a cold start has more. A clone needs no kernel: its guest has booted, and it holds 14 MB less without. */
export function kernelArguments({ kernel }: LaunchSpec): string[] {
  const initrd = kernel.initrd === undefined ? [] : ['-initrd', kernel.initrd];
  return ['-kernel', kernel.vmlinuz, ...initrd, '-append', kernel.commandLine];
}

/** What a clone has more: it waits, stopped, for its device state. */
export const INCOMING_ARGUMENTS = ['-S', '-incoming', 'defer'] as const;

/** Options that a VM whose guest has booted goes without. */
const BOOT_OPTIONS: readonly (string | undefined)[] = ['-kernel', '-initrd', '-append'];

/**
 * What makes the same machine again as the VMM with this command line, one of ours, from device state and a private mapping
 * of its memory file. From its command line, not from what a new one would get: it may have been started by an older daemon.
 */
export function successorArguments(commandLine: readonly string[], inherited: InheritedDescriptors): string[] {
  const kept = commandLine.filter(
    (argument, i) => !BOOT_OPTIONS.includes(argument) && !BOOT_OPTIONS.includes(commandLine[i - 1]),
  );
  const replaced = kept.map((argument) =>
    argument
      .replace(/^(memory-backend-file,id=ram,size=\d+M,share=)on,/, '$1off,')
      .replace(/^(socket,id=qmp,fd=)\d+/, `$1${String(inherited.qmp)}`)
      .replace(/^(socket,id=channel,fd=)\d+/, `$1${String(inherited.channel)}`)
      .replace(TAP_BACKEND, `$1${String(inherited.tap)}`),
  );
  return [...replaced, ...INCOMING_ARGUMENTS];
}

const TAP_BACKEND = /^(tap,id=net,vhost=off,fd=)(\d+)$/;

/** Number under which the VMM with this command line has its TAP; undefined with another network backend. */
export function tapOf(commandLine: readonly string[]): number | undefined {
  const number = commandLine.map((argument) => TAP_BACKEND.exec(argument)?.[2]).find((found) => found !== undefined);
  return number === undefined ? undefined : Number(number);
}

/** QEMU's own limit for translated code is 1 GiB per VM; a smaller one bounds what a long-running VM costs its host. */
const ACCELERATOR_OPTIONS: Readonly<Record<MachineFacts['accelerator'], string>> = {
  kvm: 'kvm',
  tcg: 'tcg,thread=multi,tb-size=256',
};

/** What takes what the guest says on its serial port. */
export const CONSOLE_CHARDEV = 'console';

/** The disk as a VM is started with it. */
export const DISK_NODE = 'disk';

export const diskNode = (name: string, { path, format, isDevice = false }: MachineSpec['disk']): object => ({
  driver: format,
  'node-name': name,
  discard: 'unmap',
  file: { driver: isDevice ? 'host_device' : 'file', filename: path, discard: 'unmap' },
});

function networkCard({ mac, backend }: MachineSpec['nic'], tap: number | undefined): string[] {
  if (backend.kind === 'none') return [];
  const device = `virtio-net-pci,netdev=net,mac=${mac},addr=0x2,disable-legacy=on,romfile=`;
  return ['-netdev', networkBackend(backend, tap), '-device', device];
}

function networkBackend(backend: Exclude<NicBackend, { kind: 'none' }>, tap: number | undefined): string {
  if (backend.kind === 'tap') return `tap,id=net,vhost=off,fd=${String(tap)}`;
  if (backend.kind === 'named-tap') return `tap,id=net,vhost=off,ifname=${backend.name},script=no,downscript=no`;
  const { subnet, gateway } = backend;
  const [dns, dhcp] = ['2', '3', '4']
    .map((last) => hostOf(subnet, Number(last)))
    .filter((address) => address !== gateway);
  // Guests have fixed addresses; QEMU only insists that its own are within the subnet and differ from each other.
  return `user,id=net,net=${subnet},host=${gateway},dns=${String(dns)},dhcpstart=${String(dhcp)},ipv6=off,restrict=off`;
}

/** The `n`th address of an IPv4 subnet in CIDR form. */
function hostOf(subnet: string, n: number): string {
  const [address = ''] = subnet.split('/');
  const value = address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0) + n;
  return [24, 16, 8, 0].map((shift) => String(Math.floor(value / 2 ** shift) % 256)).join('.');
}
