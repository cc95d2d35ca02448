import { Corrupt, InvalidState, messageOf } from '@offshoot/shared/errors.js';
import { isDeepStrictEqual } from 'node:util';
import * as z from 'zod';
import type { MemoryRegion } from '../../domain/instance.js';
import type { MachineSpec } from '../../ports/driver.js';
import { DEVICES, seenFrom } from './command-line.js';
import { filesOf } from './vmm-files.js';

/** What we change of a VM's description; everything else stays as Cloud Hypervisor wrote it. */
const CONFIG = z.looseObject({
  memory: z.looseObject({ zones: z.tuple([z.looseObject({ id: z.literal(DEVICES.memory), size: z.number() })]) }),
  disks: z.tuple([z.looseObject({ id: z.literal(DEVICES.disk) })]),
  net: z.tuple([z.looseObject({ id: z.literal(DEVICES.card) })]).nullish(),
  vsock: z.looseObject({ id: z.literal(DEVICES.vsock) }),
  serial: z.looseObject({ mode: z.literal('Socket') }),
});

/** Reasons for a capture that is none of ours, and for a snapshot that is other than those we know. */
const NOT_LOADED = 'STATE_NOT_LOADED';
const UNKNOWN = 'SNAPSHOT_UNKNOWN';

const MEMORY_MANAGER = 'memory-manager';
const STATE = z.looseObject({
  snapshots: z.looseObject({
    [MEMORY_MANAGER]: z.looseObject({ snapshot_data: z.looseObject({ state: z.string() }) }),
  }),
});
const MEMORY_STATE = z.object({
  guest_ram_mappings: z.array(z.object({ gpa: z.number(), size: z.number(), file_offset: z.number() })),
});

/** The list of what was to be written of the memory, in the memory manager's state. */
const MEMORY_RANGES = /"memory_ranges":\{"data":\[(?:\{"gpa":\d+,"length":\d+\},?)*\]\}/g;

/**
 * The description of a captured VM as that of another instance: our own devices, which are known by their names, get that one's
 * files; memory is mapped privately from its base. The kernel's command line and every other text stay as they are.
 * @throws Corrupt for a description that is none of ours; InvalidState when the card is there on one side only
 */
export function configFor(spec: MachineSpec, config: string): string {
  const parsed = parseJson(config, CONFIG, { reason: NOT_LOADED, exact: true });
  const [zone] = parsed.memory.zones;
  const [disk] = parsed.disks;
  const [card] = parsed.net ?? [];
  const hasCard = spec.nic.backend.kind !== 'none';
  if (hasCard !== (card !== undefined))
    throw new InvalidState(
      `the capture is of a VM ${card === undefined ? 'without' : 'with'} a network card, the instance is ${hasCard ? 'with' : 'without'} one: it cannot be loaded`,
      { reason: 'CAPTURE_MISMATCH', metadata: { what: 'network card' } },
    );
  if (zone.size !== spec.memoryBytes)
    throw new Corrupt(
      `the capture is of a VM with ${String(zone.size)} bytes of RAM, not ${String(spec.memoryBytes)}`,
      { reason: NOT_LOADED },
    );
  return JSON.stringify({
    ...parsed,
    memory: { ...parsed.memory, zones: [{ ...zone, file: spec.memoryFile, shared: false }] },
    disks: [{ ...disk, path: seenFrom(spec, spec.disk.path) }],
    // The host's address belongs to the TAP of the source.
    ...(card === undefined ? {} : { net: [{ ...card, mac: spec.nic.mac, host_mac: null }] }),
    vsock: { ...parsed.vsock, socket: seenFrom(spec, filesOf(spec).vsock) },
    serial: { ...parsed.serial, socket: seenFrom(spec, filesOf(spec).serial) },
  });
}

/**
 * A VM's state as that of one whose memory is in a file: Cloud Hypervisor would look for what it was to write of it.
 * @throws Corrupt when the memory is laid out otherwise than we think
 */
export function stateWithoutMemory(state: string, regions: readonly MemoryRegion[]): string {
  const parsed = parseJson(state, STATE, { reason: UNKNOWN, exact: true });
  const manager = parsed.snapshots[MEMORY_MANAGER];
  const text = manager.snapshot_data.state;
  const mapped = parseJson(text, MEMORY_STATE, { reason: UNKNOWN, exact: false })
    .guest_ram_mappings.map(({ gpa, size, file_offset }) => ({ gpa, size, fileOffset: file_offset }))
    .sort((a, b) => a.gpa - b.gpa);
  if (!isDeepStrictEqual(mapped, regions))
    throw new Corrupt(`Cloud Hypervisor maps RAM as ${JSON.stringify(mapped)}, not as ${JSON.stringify(regions)}`, {
      reason: UNKNOWN,
    });
  // As a text: there are numbers in it that this language cannot keep (2^64 - 1, for a slot that is empty).
  if (text.match(MEMORY_RANGES)?.length !== 1)
    throw new Corrupt("the state of Cloud Hypervisor's memory manager has no list of ranges where it is looked for", {
      reason: UNKNOWN,
    });
  const inner = text.replace(MEMORY_RANGES, '"memory_ranges":{"data":[]}');
  const data = { ...manager.snapshot_data, state: inner };
  return JSON.stringify({
    ...parsed,
    snapshots: { ...parsed.snapshots, [MEMORY_MANAGER]: { ...manager, snapshot_data: data } },
  });
}

/**
 * @param options `exact`: it will be written again, and in a number of this language some of 64 bits would be lost
 * @throws Corrupt
 */
function parseJson<T>(
  text: string,
  shape: z.ZodType<T>,
  { reason, exact }: { readonly reason: string; readonly exact: boolean },
): T {
  try {
    return shape.parse(JSON.parse(text, exact ? assertExact : undefined));
  } catch (error) {
    throw new Corrupt(`the snapshot of Cloud Hypervisor is not as expected: ${messageOf(error)}`, {
      reason,
      cause: error,
    });
  }
}

function assertExact(_: string, value: unknown): unknown {
  if (typeof value === 'number' && Math.abs(value) > Number.MAX_SAFE_INTEGER)
    throw new RangeError(`a number as large as ${String(value)} cannot be kept`);
  return value;
}
