import { describe, expect, it } from 'vitest';
import { Corrupt, InvalidState } from '@offshoot/shared/errors.js';
import type { MachineSpec } from '../../ports/driver.js';
import { cloudHypervisorRegions } from './memory-layout.js';
import { configFor, stateWithoutMemory } from './snapshot-config.js';

const MIB = 1024 * 1024;

const spec: MachineSpec = {
  directory: '/state/i2',
  runDirectory: '/state/i2/run',
  logDirectory: '/state/i2/logs',
  vcpus: 1,
  memoryBytes: 128 * MIB,
  memoryFile: '/state/i1/memory',
  disk: { path: '/state/i2/disk.raw', format: 'raw' },
  nic: { mac: '52:54:00:00:00:02', backend: { kind: 'tap', descriptor: 9 } },
};

/** As 54.0 writes it, shortened. */
const captured = {
  cpus: { boot_vcpus: 1, max_vcpus: 1 },
  memory: { size: 0, zones: [{ id: 'ram', size: 128 * MIB, file: 'memory', shared: true, mergeable: false }] },
  payload: { kernel: 'run/kernel', cmdline: 'disk=/state/i1/disk.raw run/vsock' },
  disks: [{ id: 'disk', path: 'disk.raw', image_type: 'Raw', readonly: false }],
  net: [{ id: 'net', mac: '52:54:00:00:00:01', host_mac: '52:54:00:00:00:ff', fds: [5], tap: null }],
  vsock: { id: 'vsock', cid: 3, socket: 'run/vsock' },
  serial: { mode: 'Socket', socket: 'run/serial.sock' },
  pvpanic: true,
};

describe('the description of a captured VM', () => {
  it("becomes that of another instance, on a private mapping of its base, and keeps the kernel's command line", () => {
    expect(JSON.parse(configFor(spec, JSON.stringify(captured)))).toEqual({
      ...captured,
      memory: { size: 0, zones: [{ ...captured.memory.zones[0], file: '/state/i1/memory', shared: false }] },
      net: [{ ...captured.net[0], mac: '52:54:00:00:00:02', host_mac: null }],
    });
  });

  it('is refused where a card is on one side only', () => {
    const none: MachineSpec = { ...spec, nic: { mac: '', backend: { kind: 'none' } } };
    expect(() => configFor(none, JSON.stringify(captured))).toThrow(InvalidState);
    const cardless = { ...captured, net: undefined };
    expect(() => configFor(spec, JSON.stringify(cardless))).toThrow(/without a network card/);
    expect(JSON.parse(configFor(none, JSON.stringify(cardless)))).not.toHaveProperty('net');
  });

  it.each([
    ['two disks', { ...captured, disks: [...captured.disks, ...captured.disks] }],
    ['a disk of another name', { ...captured, disks: [{ ...captured.disks[0], id: 'other' }] }],
    ['other memory', { ...captured, memory: { size: 0, zones: [{ ...captured.memory.zones[0], size: 64 * MIB }] } }],
    ['a console elsewhere', { ...captured, serial: { mode: 'File', file: '/etc/passwd' } }],
  ])('is refused with %s', (_, config) => {
    expect(() => configFor(spec, JSON.stringify(config))).toThrow(Corrupt);
  });

  it('is refused with a number that would be another one afterwards', () => {
    const text = JSON.stringify(captured).replace('"cid":3', '"cid":18446744073709551615');
    expect(() => configFor(spec, text)).toThrow(/cannot be kept/);
  });
});

/** 64 bits. */
const LARGEST = '18446744073709551615';

describe('the state of a captured VM', () => {
  const mapping = { slot: 0, gpa: 0, size: 128 * MIB, zone_id: 'ram', virtio_mem: false, file_offset: 0 };
  const memory = {
    memory_ranges: { data: [{ gpa: 0, length: 128 * MIB }] },
    guest_ram_mappings: [mapping],
    boot_ram: 1,
  };
  const stateOf = (inner: unknown): string =>
    JSON.stringify({
      snapshots: {
        // 64 bits, in a text of its own, which is not touched.
        'cpu-manager': { snapshots: {}, snapshot_data: { state: `{"msr":${LARGEST}}` } },
        'memory-manager': {
          snapshots: {},
          snapshot_data: { state: JSON.stringify(inner).replace('"boot_ram":1', `"boot_ram":${LARGEST}`) },
        },
      },
      snapshot_data: { state: '{}' },
    });
  const partsOf = (text: string): { memory: string; others: unknown } => {
    const { snapshots, ...rest } = JSON.parse(text) as {
      snapshots: Record<string, { snapshot_data: { state: string } }>;
    };
    const { 'memory-manager': manager, ...others } = snapshots;
    return { memory: manager?.snapshot_data.state ?? '', others: { ...rest, ...others } };
  };
  const regions = cloudHypervisorRegions(128 * MIB);

  it('is that of a VM whose memory is in a file, and otherwise what it was', () => {
    const before = stateOf(memory);
    const after = partsOf(stateWithoutMemory(before, regions));
    expect(after.memory).toBe(partsOf(stateOf({ ...memory, memory_ranges: { data: [] } })).memory);
    expect(after.memory).toContain(LARGEST);
    expect(after.others).toEqual(partsOf(before).others);
  });

  it('is refused when RAM is laid out otherwise, or it is none', () => {
    const moved = { ...memory, guest_ram_mappings: [{ ...mapping, gpa: 4096 }] };
    expect(() => stateWithoutMemory(stateOf(moved), regions)).toThrow(/maps RAM as/);
    expect(() => stateWithoutMemory(stateOf({ guest_ram_mappings: [mapping] }), regions)).toThrow(/no list of ranges/);
    expect(() => stateWithoutMemory('{}', regions)).toThrow(Corrupt);
    expect(() => stateWithoutMemory('', regions)).toThrow(Corrupt);
  });
});
