import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict';
import { OffshootError } from '@offshoot/shared/errors.js';
import type { ContentType } from '@offshoot/shared/mailbox/frame-layout.js';
import { parseFrameHeader } from '@offshoot/shared/mailbox/frame.js';
import { noises, type Noise } from '@offshoot/shared/testing/noise.js';
import { FUZZ_TIMEOUT_MS, holdsAsync } from '@offshoot/shared/testing/property.js';
import { deliveryIn, faultsOf } from '@offshoot/shared/testing/reference-frame.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { deliver, type Delivered } from './delivery.js';
import { planDeliveries, type PlannedDelivery } from './delivery-plan.js';
import { assembleMailboxes } from './indexed-mailbox.js';
import { locatedFrame } from './located-frame.js';
import { MailboxLookup } from './mailbox-lookup.js';
import { BufferMemory, framePage, type TestFrame } from './test-memory.js';

const PAGE = 4096;
const PAGES = 16;
const NAMES = ['one', 'two', 'three', 'four'];
const ACK = { transport: 'udp', address: '10.0.2.2', port: 40_000 } as const;

/** Frames of a mailbox each, one to three, at addresses in no order; some pages of the memory are nobody's. */
function someFrames(noise: Noise): TestFrame[] {
  const free = Array.from({ length: PAGES }, (_, page) => page * PAGE);
  return NAMES.slice(0, 1 + noise.below(NAMES.length)).flatMap((name) => {
    const segmentCount = 1 + noise.below(3);
    return Array.from({ length: segmentCount }, (_, segmentIndex) => {
      const [gpa = 0] = free.splice(noise.below(free.length), 1);
      return { gpa, name, segmentIndex, segmentCount, generation: noise.pick([0, 0, 5, 2 ** 32 - 2]) };
    });
  });
}

/** What was planned when the frames stood in the capture as they were armed. */
function planFor(noise: Noise, frames: readonly TestFrame[]): PlannedDelivery[] {
  const located = frames.map((frame) => {
    const parse = parseFrameHeader(framePage(frame));
    if (!parse.ok) throw new Error(parse.description);
    return locatedFrame(parse.header, frame.gpa);
  });
  const requests = [...new Set(frames.map(({ name }) => name!))].map((name) => {
    const capacity = frames.filter((frame) => frame.name === name).length * 3840;
    const payload = noise.bytes(noise.once(10) ? Math.min(3841, capacity) : noise.below(100));
    return { name, token: undefined, contentType: noise.pick<ContentType>(['json', 'bytes']), payload };
  });
  return planDeliveries(new MailboxLookup(assembleMailboxes(located, []), false), requests);
}

/** Memory that is tampered with while the host works on it, by whoever shares it; and that remembers what was written. */
class TamperedMemory extends BufferMemory {
  private accesses = 0;

  constructor(
    /** When: at the so-manieth read or write; what: once, before it is carried out. Returns whether it is carried out. */
    private readonly at: number,
    private readonly tamper: (memory: BufferMemory) => boolean,
  ) {
    super(PAGES * PAGE);
  }

  override read(gpa: number, length: number): Promise<Buffer> {
    this.carriesOut();
    return super.read(gpa, length);
  }

  override write(gpa: number, bytes: Buffer): Promise<void> {
    return this.carriesOut() ? super.write(gpa, bytes) : Promise.resolve();
  }

  private carriesOut(): boolean {
    return this.accesses++ === this.at ? this.tamper(this) : true;
  }
}

const orders = (plans: readonly PlannedDelivery[]) => plans.map((planned) => ({ planned, ack: ACK }));

async function outcomeOf(memory: BufferMemory, plans: readonly PlannedDelivery[]): Promise<Delivered[] | string> {
  try {
    return await deliver(memory, orders(plans));
  } catch (error) {
    if (error instanceof OffshootError) return error.reason;
    throw error;
  }
}

/** Only frames that were planned for are written to, and in them nothing that is the guest's. */
function staysInPlace({ writes }: BufferMemory, plans: readonly PlannedDelivery[]): void {
  const planned = new Set(plans.flatMap(({ segmentAddresses }) => segmentAddresses));
  for (const { gpa, length } of writes) {
    ok(planned.has(gpa - (gpa % PAGE)));
    ok(gpa % PAGE >= 212 && (gpa % PAGE) + length <= PAGE);
  }
}

/** The guest finds every payload whole, under one generation and with what it has to answer. */
function isDelivered(memory: BufferMemory, plans: readonly PlannedDelivery[], delivered: readonly Delivered[]): void {
  plans.forEach(({ segmentAddresses, payload, contentType, mailbox }, at) => {
    const { generation, nonce } = delivered[at]!;
    strictEqual(delivered[at]!.mailbox, mailbox.name);
    const segments = segmentAddresses.map((gpa) => deliveryIn(memory.page(gpa))!);
    ok(Buffer.concat(segments.map((segment) => segment.payload)).equals(payload));
    for (const segment of segments)
      deepStrictEqual(
        { ...segment, payload: undefined },
        {
          generation,
          contentType,
          payload: undefined,
          totalLength: payload.length,
          ack: { ...ACK, nonce },
        },
      );
  });
}

/** Changes one byte, mostly one of those that say whose frame it is. */
function meddle(noise: Noise, memory: BufferMemory, frames: readonly TestFrame[]): void {
  const { gpa } = frames[noise.below(frames.length)]!;
  const at = noise.pick([noise.below(228), 208 + noise.below(20), noise.below(PAGES * PAGE) - gpa]);
  memory.ram[gpa + at] = noise.pick([0, noise.below(256), noise.below(5)]);
}

describe('delivery into any memory', { timeout: FUZZ_TIMEOUT_MS }, () => {
  const FRAMES_IN_RUN = 5; // 2.5 mailboxes of 2 frames on average

  it('that changed since it was captured writes all, or not a byte when one frame is not what it was', async () => {
    const seen = { written: 0, refused: 0 };
    await holdsAsync(
      fc.asyncProperty(noises, async (noise) => {
        const frames = someFrames(noise);
        const plans = planFor(noise, frames);
        const memory = new BufferMemory(PAGES * PAGE).arm(...frames);
        const captured = Buffer.from(memory.ram);
        for (let changes = noise.below(3); changes > 0; changes--) meddle(noise, memory, frames);
        const found = Buffer.from(memory.ram);
        const untouched = frames.every(({ gpa }) => {
          // All the guest wrote into the frame; the generation may have grown.
          const same = captured.compare(found, gpa, gpa + 224, gpa, gpa + 224) === 0;
          return same && faultsOf(found.subarray(gpa, gpa + PAGE)).size === 0;
        });
        const outcome = await outcomeOf(memory, plans);
        staysInPlace(memory, plans);
        seen[untouched ? 'written' : 'refused']++;
        if (!untouched) {
          strictEqual(outcome, 'MAILBOX_FRAME_CHANGED');
          ok(memory.ram.equals(found));
          return;
        }
        if (typeof outcome === 'string') throw new Error(outcome);
        isDelivered(memory, plans, outcome);
        for (const { gpa } of frames) found.copy(memory.ram, gpa + 212, gpa + 212, gpa + PAGE);
        ok(memory.ram.equals(found)); // nothing but these fields of these frames
      }),
      FRAMES_IN_RUN,
    );
    expect(Math.min(seen.written, seen.refused)).toBeGreaterThan((seen.written + seen.refused) / 10);
  });

  it('that loses a write fails, and no guest sees a generation whose payload is not there', async () => {
    let lost = 0;
    await holdsAsync(
      fc.asyncProperty(noises, async (noise) => {
        const frames = someFrames(noise);
        const plans = planFor(noise, frames);
        // Reads of all frames, writes of all bodies, reads of them, and the same with the generations.
        const at = frames.length + noise.below(4 * frames.length);
        let isLost = false;
        const memory = new TamperedMemory(at, () => {
          isLost = true;
          return false;
        });
        memory.arm(...frames);
        const before = frames.map(({ gpa }) => memory.page(gpa).readUInt32LE(224));
        const outcome = await outcomeOf(memory, plans);
        staysInPlace(memory, plans);
        ok(isLost);
        // Where it was a read that came to this place, nothing was lost.
        const complete = memory.writes.length === 2 * frames.length;
        strictEqual(typeof outcome === 'string' ? outcome : 'delivered', complete ? 'delivered' : 'MAILBOX_WRITE_LOST');
        if (typeof outcome !== 'string') {
          isDelivered(memory, plans, outcome);
          return;
        }
        lost++;
        frames.forEach(({ gpa }, index) => {
          if (memory.page(gpa).readUInt32LE(224) !== before[index]) ok(deliveryIn(memory.page(gpa)) !== undefined);
        });
      }),
      FRAMES_IN_RUN,
    );
    expect(lost).toBeGreaterThan(0);
  });

  it('that somebody changes under the host’s hands is written to nowhere but in the frames, or delivered whole', async () => {
    await holdsAsync(
      fc.asyncProperty(noises, async (noise) => {
        const frames = someFrames(noise);
        const plans = planFor(noise, frames);
        const memory = new TamperedMemory(noise.below(6 * frames.length), (ram) => {
          meddle(noise, ram, frames);
          return true;
        });
        memory.arm(...frames);
        const outcome = await outcomeOf(memory, plans);
        staysInPlace(memory, plans);
        if (typeof outcome === 'string') ok(['MAILBOX_FRAME_CHANGED', 'MAILBOX_WRITE_LOST'].includes(outcome), outcome);
        if (outcome === 'MAILBOX_FRAME_CHANGED') strictEqual(memory.writes.length, 0);
      }),
      FRAMES_IN_RUN,
    );
  });
});
