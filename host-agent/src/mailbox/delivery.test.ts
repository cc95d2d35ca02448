import { FRAME_LAYOUT, SEGMENT_CAPACITY } from '@offshoot/shared/mailbox/frame-layout.js';
import { parseFrameHeader, readDelivery, readFrameHeader } from '@offshoot/shared/mailbox/frame.js';
import { describe, expect, it } from 'vitest';
import { deliver } from './delivery.js';
import { planDeliveries, type DeliveryRequest, type PlannedDelivery } from './delivery-plan.js';
import { assembleMailboxes } from './indexed-mailbox.js';
import { locatedFrame } from './located-frame.js';
import { MailboxLookup } from './mailbox-lookup.js';
import { BufferMemory, framePage, type TestFrame } from './test-memory.js';

const RAM = 2 ** 20;
const ACK = { transport: 'udp', address: '10.0.2.2', port: 40_000 } as const;

/** Plans for the capture's memory, in which `frames` stood. */
function plan(frames: readonly TestFrame[], ...requests: Partial<DeliveryRequest>[]): PlannedDelivery[] {
  const located = frames.map((frame) => {
    const parse = parseFrameHeader(framePage(frame));
    if (!parse.ok) throw new Error(parse.description);
    return locatedFrame(parse.header, frame.gpa);
  });
  return planDeliveries(
    new MailboxLookup(assembleMailboxes(located, []), false),
    requests.map((request) => ({
      name: 'task',
      token: undefined,
      contentType: 'json',
      payload: Buffer.from('{"classified":1}'),
      ...request,
    })),
  );
}

describe('delivery into a paused fork', () => {
  it('puts the payload where the guest finds it whole, and says what to expect', async () => {
    const frame = { gpa: 8192 };
    const memory = new BufferMemory(RAM).arm(frame);
    const [planned] = plan([frame], {});
    const [delivered] = await deliver(memory, [{ planned: planned!, ack: ACK }]);
    expect(delivered).toMatchObject({ mailbox: 'task', generation: 1 });
    expect(readFrameHeader(memory.page(8192))).toMatchObject({ state: 'delivered', generation: 1, nonce: 1n });
    expect(readDelivery(memory.page(8192))).toEqual({
      generation: 1,
      contentType: 'json',
      payload: planned!.payload,
      totalLength: planned!.payload.length,
      ack: { ...ACK, nonce: delivered!.nonce },
    });
  });

  it('draws another ack nonce for each delivery', async () => {
    const frames = [{ gpa: 0 }, { gpa: 4096, name: 'other' }];
    const memory = new BufferMemory(RAM).arm(...frames);
    const plans = plan(frames, {}, { name: 'other' });
    const delivered = await deliver(
      memory,
      plans.map((planned) => ({ planned, ack: ACK })),
    );
    expect(delivered.map(({ mailbox }) => mailbox)).toEqual(['task', 'other']);
    expect(delivered[0]!.nonce).not.toBe(delivered[1]!.nonce);
  });

  it('asks for no ack where none is wanted', async () => {
    const memory = new BufferMemory(RAM).arm({ gpa: 0 });
    await deliver(memory, [{ planned: plan([{ gpa: 0 }], {})[0]!, ack: undefined }]);
    expect(readDelivery(memory.page(0)).ack).toMatchObject({ transport: 'none', port: 0, address: '0.0.0.0' });
  });

  it('goes on from the generation that stands in the frame', async () => {
    const memory = new BufferMemory(RAM).arm({ gpa: 0, generation: 41 });
    const [delivered] = await deliver(memory, [{ planned: plan([{ gpa: 0 }], {})[0]!, ack: ACK }]);
    expect(delivered!.generation).toBe(42);
    expect(readDelivery(memory.page(0)).generation).toBe(42);
  });

  it('writes every generation after every payload', async () => {
    const frames = [{ gpa: 0 }, { gpa: 4096, name: 'other' }];
    const memory = new BufferMemory(RAM).arm(...frames);
    await deliver(
      memory,
      plan(frames, {}, { name: 'other' }).map((planned) => ({ planned, ack: ACK })),
    );
    const { offset } = FRAME_LAYOUT.generation;
    expect(memory.writes.slice(2)).toEqual([
      { gpa: offset, length: 4 },
      { gpa: 4096 + offset, length: 4 },
    ]);
  });

  it('spreads a payload over the segments of a mailbox', async () => {
    const part = { segmentCount: 3 };
    const frames = [
      { gpa: 8192, ...part },
      { gpa: 0, ...part, segmentIndex: 1 },
      { gpa: 4096, ...part, segmentIndex: 2 },
    ];
    const memory = new BufferMemory(RAM).arm(...frames);
    const payload = Buffer.alloc(SEGMENT_CAPACITY + 100, 'ab');
    const [planned] = plan(frames, { payload, contentType: 'bytes' });
    const [delivered] = await deliver(memory, [{ planned: planned!, ack: ACK }]);
    const segments = [8192, 0, 4096].map((gpa) => readDelivery(memory.page(gpa)));
    expect(Buffer.concat(segments.map((segment) => segment.payload))).toEqual(payload);
    for (const segment of segments)
      expect(segment).toMatchObject({
        generation: delivered!.generation,
        totalLength: payload.length,
        ack: { nonce: delivered!.nonce },
      });
  });

  it.each<[string, Partial<TestFrame>]>([
    ['name', { name: 'renamed' }],
    ['tokenSha256', { token: 'another' }],
    ['nonce', { nonce: 99n }],
    ['segmentIndex', { segmentIndex: 1, segmentCount: 2 }],
    ['segmentCount', { segmentCount: 2 }],
    ['state', { state: 'consumed' }],
  ])('writes nothing anywhere when one frame has another %s in this VM', async (difference, change) => {
    const frames = [{ gpa: 0 }, { gpa: 4096, name: 'other' }];
    const memory = new BufferMemory(RAM).arm(frames[0]!, { ...frames[1]!, ...change });
    const plans = plan(frames, {}, { name: 'other' });
    await expect(
      deliver(
        memory,
        plans.map((planned) => ({ planned, ack: ACK })),
      ),
    ).rejects.toMatchObject({
      kind: 'Corrupt',
      reason: 'MAILBOX_FRAME_CHANGED',
      metadata: { mailbox: 'other', segment: '0', difference },
    });
    expect(memory.writes).toEqual([]);
  });

  it('writes nothing when a payload that was put in after planning is too large', async () => {
    const memory = new BufferMemory(RAM).arm({ gpa: 0 });
    const planned = { ...plan([{ gpa: 0 }], {})[0]!, payload: Buffer.alloc(SEGMENT_CAPACITY + 1) };
    await expect(deliver(memory, [{ planned, ack: ACK }])).rejects.toMatchObject({
      kind: 'InvalidInput',
      reason: 'MAILBOX_PAYLOAD_TOO_LARGE',
    });
    expect(memory.writes).toEqual([]);
  });

  it('writes nothing when the frame is gone', async () => {
    const memory = new BufferMemory(RAM);
    await expect(deliver(memory, [{ planned: plan([{ gpa: 0 }], {})[0]!, ack: ACK }])).rejects.toMatchObject({
      reason: 'MAILBOX_FRAME_CHANGED',
      metadata: { difference: 'magic' },
    });
    expect(memory.writes).toEqual([]);
  });

  it.each(['payload', 'generation'])(
    'fails without the payload in the error when the %s does not stick',
    async (lost) => {
      class Forgetful extends BufferMemory {
        override write(gpa: number, bytes: Buffer): Promise<void> {
          const what = bytes.length === FRAME_LAYOUT.generation.size ? 'generation' : 'payload';
          return what === lost ? Promise.resolve() : super.write(gpa, bytes);
        }
      }
      const memory = new Forgetful(RAM).arm({ gpa: 0 });
      const error: unknown = await deliver(memory, [{ planned: plan([{ gpa: 0 }], {})[0]!, ack: ACK }]).catch(
        (thrown: unknown) => thrown,
      );
      expect(error).toMatchObject({ kind: 'Corrupt', reason: 'MAILBOX_WRITE_LOST' });
      expect(String(error) + JSON.stringify(error)).not.toContain('classified');
      expect(readFrameHeader(memory.page(0)).generation).toBe(0);
    },
  );

  it('waits for the other writes before it fails', async () => {
    let running = 0;
    class HalfBroken extends BufferMemory {
      override async write(gpa: number, bytes: Buffer): Promise<void> {
        if (gpa < 4096) throw new Error('first frame unwritable');
        running++;
        await new Promise(setImmediate);
        await super.write(gpa, bytes);
        running--;
      }
    }
    const frames = [{ gpa: 0 }, { gpa: 4096, name: 'other' }];
    const memory = new HalfBroken(RAM).arm(...frames);
    const plans = plan(frames, {}, { name: 'other' });
    await expect(
      deliver(
        memory,
        plans.map((planned) => ({ planned, ack: ACK })),
      ),
    ).rejects.toThrow('unwritable');
    expect(running).toBe(0);
    expect(memory.writes).toHaveLength(1);
  });
});
