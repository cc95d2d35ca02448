import { randomBytes } from 'node:crypto';
import { Corrupt, InvalidInput } from '@offshoot/shared/errors.js';
import { FRAME_SIZE, SEGMENT_CAPACITY } from '@offshoot/shared/mailbox/frame-layout.js';
import {
  deliveryBytes,
  generationBytes,
  parseFrameHeader,
  type AckRoute,
  type FrameHeader,
} from '@offshoot/shared/mailbox/frame.js';
import type { AckExpectation } from '../ports/ack-listener.js';
import type { GuestMemory } from '../ports/driver.js';
import { awaitAll } from './await-all.js';
import type { PlannedDelivery } from './delivery-plan.js';
import { locatedFrame } from './located-frame.js';

/** Where the guest sends its ack: by datagram to the host as it sees it (`0.0.0.0` = its default gateway), or over vsock. */
export type AckEndpoint =
  | { readonly transport: 'udp'; readonly address: string; readonly port: number }
  | { readonly transport: 'vsock'; readonly port: number };

export interface DeliveryOrder {
  readonly planned: PlannedDelivery;
  /** Undefined: the guest is not asked for an ack. */
  readonly ack: AckEndpoint | undefined;
}

/** What to expect of the guest: all of an {@link AckExpectation} but where it comes from. */
export type Delivered = Pick<AckExpectation, 'mailbox' | 'generation' | 'nonce'>;

/** Bytes to be written at an address. */
interface Patch {
  readonly mailbox: string;
  readonly gpa: number;
  readonly bytes: Buffer;
}

/** Everything one delivery writes: its bodies, and what makes them count. */
interface PreparedDelivery {
  readonly delivered: Delivered;
  readonly bodies: readonly Patch[];
  readonly generations: readonly Patch[];
}

/**
 * Fills mailboxes of a paused VM: looks at every frame again in this VM's own memory before anything is written, writes
 * everything but the generations, reads it back, writes the generations, reads them back. A payload longer than a segment
 * goes on in the next. Returns, in order of the orders, what to expect.
 *
 * After a failure some of it may be written: the caller ends the VM, which never ran with it.
 * @throws Corrupt `MAILBOX_FRAME_CHANGED` when a frame is not the planned one, `MAILBOX_WRITE_LOST` when what was
 *   written is not there; InvalidInput when a payload is larger than its mailbox; and whatever the memory throws
 */
export async function deliver(memory: GuestMemory, orders: readonly DeliveryOrder[]): Promise<Delivered[]> {
  const prepared = await awaitAll(orders.map((order) => prepare(memory, order)));
  await write(
    memory,
    prepared.flatMap(({ bodies }) => bodies),
  );
  await write(
    memory,
    prepared.flatMap(({ generations }) => generations),
  );
  return prepared.map(({ delivered }) => delivered);
}

async function prepare(memory: GuestMemory, { planned, ack }: DeliveryOrder): Promise<PreparedDelivery> {
  const { mailbox, contentType, payload } = planned;
  // Planned for another payload than this one, perhaps: a hand-off may know its own only now.
  if (payload.length > mailbox.capacityBytes)
    throw InvalidInput.field(
      'payload',
      `must be at most ${String(mailbox.capacityBytes)} bytes, the capacity of mailbox ${mailbox.name}, got ${String(payload.length)}`,
      'MAILBOX_PAYLOAD_TOO_LARGE',
    );
  const segments = await awaitAll(
    planned.segmentAddresses.map(async (gpa, index) => ({
      gpa,
      header: await readPlanned(memory, planned, gpa, index),
    })),
  );
  const generation = Math.max(...segments.map(({ header }) => header.generation)) + 1;
  const nonce = randomBytes(8).readBigUInt64LE();
  const route: AckRoute =
    ack === undefined
      ? { transport: 'none', port: 0, address: '0.0.0.0', nonce }
      : { address: '0.0.0.0', ...ack, nonce };
  const patchAt = (gpa: number, { offset, bytes }: { offset: number; bytes: Buffer }): Patch => ({
    mailbox: mailbox.name,
    gpa: gpa + offset,
    bytes,
  });
  const bodies = segments.map(({ gpa, header }, index) => {
    const part = payload.subarray(index * SEGMENT_CAPACITY, (index + 1) * SEGMENT_CAPACITY);
    const segment = { generation, contentType, payload: part, totalLength: payload.length, ack: route };
    return patchAt(gpa, deliveryBytes(header, segment));
  });
  const generations = segments.map(({ gpa }) => patchAt(gpa, generationBytes(generation)));
  return { delivered: { mailbox: mailbox.name, generation, nonce }, bodies, generations };
}

/** The frame's header, when it is still the one that was planned with. */
async function readPlanned(
  memory: GuestMemory,
  { mailbox }: PlannedDelivery,
  gpa: number,
  index: number,
): Promise<FrameHeader> {
  const parse = parseFrameHeader(await memory.read(gpa, FRAME_SIZE));
  if (!parse.ok) throw changed(mailbox.name, index, parse.problem);
  const found = locatedFrame(parse.header, gpa);
  const planned = { ...mailbox, segmentIndex: index, segmentCount: mailbox.segmentAddresses.length, state: 'armed' };
  for (const field of ['name', 'tokenSha256', 'nonce', 'segmentIndex', 'segmentCount', 'state'] as const)
    if (found[field] !== planned[field]) throw changed(mailbox.name, index, field);
  return parse.header;
}

const changed = (mailbox: string, segment: number, what: string): Corrupt =>
  new Corrupt(`mailbox ${mailbox}: the frame in the fork's memory is not the one in the capture (${what})`, {
    reason: 'MAILBOX_FRAME_CHANGED',
    metadata: { mailbox, segment: String(segment), difference: what },
  });

async function write(memory: GuestMemory, patches: readonly Patch[]): Promise<void> {
  await awaitAll(
    patches.map(async ({ mailbox, gpa, bytes }) => {
      await memory.write(gpa, bytes);
      if (bytes.equals(await memory.read(gpa, bytes.length))) return;
      throw new Corrupt(`mailbox ${mailbox}: what was written into the fork's memory cannot be read back`, {
        reason: 'MAILBOX_WRITE_LOST',
        metadata: { mailbox },
      });
    }),
  );
}
