import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GuestMessageReader, MAX_GUEST_MESSAGE, encodeMessage } from './guest-message-reader.js';

describe('messages from a guest', () => {
  it('come out whole however the stream is cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 6 }),
        fc.array(fc.nat(), { maxLength: 10 }),
        (messages, places) => {
          const wire = Buffer.concat(messages.map((bytes) => encodeMessage(Buffer.from(bytes))));
          const cuts = [...new Set(places.map((place) => place % (wire.length + 1)))].sort((a, b) => a - b);
          const reader = new GuestMessageReader();
          const heard = [0, ...cuts].flatMap((start, i) => reader.push(wire.subarray(start, cuts[i] ?? wire.length)));
          expect(heard).toEqual(messages.map((bytes) => Buffer.from(bytes)));
          expect(reader.empty).toBe(true);
        },
      ),
    );
  });

  it('are refused when compressed or too large, before their bytes are held', () => {
    const large = Buffer.alloc(5);
    large.writeUInt32BE(MAX_GUEST_MESSAGE + 1, 1);
    expect(() => new GuestMessageReader().push(large)).toThrow('message of');
    expect(() => new GuestMessageReader().push(Buffer.from([1, 0, 0, 0, 0]))).toThrow('compressed');
  });
});
