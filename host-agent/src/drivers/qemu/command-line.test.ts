import { describe, expect, it } from 'vitest';
import type { MachineSpec } from '../../ports/driver.js';
import { INCOMING_ARGUMENTS, kernelArguments, machineArguments, successorArguments, tapOf } from './command-line.js';

const facts = {
  version: '7.2',
  machineType: 'pc-q35-7.2',
  accelerator: 'tcg',
  cpuModel: 'max',
  cpuArgument: 'max',
} as const;
const spec: MachineSpec = {
  directory: '/i',
  runDirectory: '/i/run',
  logDirectory: '/i,x=y/logs',
  vcpus: 2,
  memoryBytes: 512 * 1024 * 1024,
  memoryFile: '/i/a,share=on, "b"',
  disk: { path: '/i/d,"\\.qcow2', format: 'qcow2' },
  nic: { mac: '52:54:00:00:00:01', backend: { kind: 'tap', descriptor: 9 } },
};
const inherited = { qmp: 3, channel: 4, tap: 5 };
const after = (argv: readonly string[], option: string): string[] =>
  argv.flatMap((value, i) => (argv[i - 1] === option ? [value] : []));

describe("a VM's command line", () => {
  it('keeps commas and quotes of paths from meaning anything', () => {
    const argv = machineArguments(facts, spec, inherited, { share: false });
    expect(after(argv, '-object')[0]).toMatch(/,share=off,.*,mem-path=\/i\/a,,share=on,, "b"$/);
    expect(after(argv, '-chardev').join()).toContain('path=/i,,x=y/logs/console.log');
    expect(JSON.parse(after(argv, '-blockdev')[0]!)).toMatchObject({ file: { filename: '/i/d,"\\.qcow2' } });
  });

  it('differs between a source and its clone only in where the RAM comes from', () => {
    const source = machineArguments(facts, spec, inherited, { share: true });
    const clone = machineArguments(facts, spec, inherited, { share: false });
    expect(clone.filter((value, i) => value !== source[i]).map((value) => value.replace('share=off', ''))).toHaveLength(
      1,
    );
  });

  it('of a successor is that of a clone, with descriptors of its own and no kernel', () => {
    const memoryFile = '/vms/share=on,/memory';
    const kernel = { vmlinuz: '/k', vmlinux: '/elf', initrd: '/i', commandLine: 'socket,id=qmp,fd=3' };
    const launch = { ...spec, memoryFile, kernel };
    const source = [...machineArguments(facts, launch, inherited, { share: true }), ...kernelArguments(launch)];
    const others = { qmp: 13, channel: 14, tap: 15 };
    expect(successorArguments(source, others)).toEqual([
      ...machineArguments(facts, launch, others, { share: false }),
      ...INCOMING_ARGUMENTS,
    ]);
    expect(tapOf(source)).toBe(inherited.tap);
  });

  it('takes the TAP from its descriptor', () => {
    expect(after(machineArguments(facts, spec, inherited, { share: true }), '-netdev')).toEqual([
      'tap,id=net,vhost=off,fd=5',
    ]);
  });

  it("keeps QEMU's own addresses inside the subnet and apart from the gateway", () => {
    const netdev = (gateway: string): string[] => {
      const nic = { mac: spec.nic.mac, backend: { kind: 'user', subnet: '10.9.255.248/29', gateway } as const };
      return after(machineArguments(facts, { ...spec, nic }, inherited, { share: true }), '-netdev');
    };
    expect(netdev('10.9.255.249')[0]).toContain('host=10.9.255.249,dns=10.9.255.250,dhcpstart=10.9.255.251,');
    expect(netdev('10.9.255.250')[0]).toContain('host=10.9.255.250,dns=10.9.255.251,dhcpstart=10.9.255.252,');
  });

  it('opens a block device as one, which QEMU does not do as a file', () => {
    const blockdev = (disk: typeof spec.disk): string =>
      after(machineArguments(facts, { ...spec, disk }, inherited, { share: true }), '-blockdev')[0] ?? '';
    const raw = { path: '/i/disk.raw', format: 'raw' } as const;
    expect(JSON.parse(blockdev(raw))).toMatchObject({ driver: 'raw', file: { driver: 'file' } });
    expect(JSON.parse(blockdev({ ...raw, isDevice: true }))).toMatchObject({
      driver: 'raw',
      file: { driver: 'host_device', filename: '/i/disk.raw' },
    });
  });

  it('refuses memory that is no whole number of MiB', () => {
    expect(() => machineArguments(facts, { ...spec, memoryBytes: 1_000_000 }, inherited, { share: true })).toThrow(
      /whole number/,
    );
  });
});
