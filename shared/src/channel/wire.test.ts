import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  MAX_RECORD_PAYLOAD,
  NO_SESSION,
  SESSION_ID_LENGTH,
  SYNC_MAGIC,
  WireDecoder,
  encodeData,
  encodeEnd,
  encodeSync,
  newSessionId,
} from './wire.js';

interface Heard {
  readonly syncs: string[];
  /** Bytes of the session that was last begun. */
  bytes: Buffer;
  ends: number;
  readonly corrupt: string[];
}

function listen(pieces: readonly Buffer[]): Heard {
  const heard: Heard = { syncs: [], bytes: Buffer.alloc(0), ends: 0, corrupt: [] };
  const decoder = new WireDecoder({
    onSync: (session) => {
      heard.syncs.push(session);
      heard.bytes = Buffer.alloc(0);
      heard.ends = 0;
    },
    onData: (payload) => {
      heard.bytes = Buffer.concat([heard.bytes, payload]);
    },
    onEnd: () => {
      heard.ends += 1;
    },
    onCorrupt: (error) => {
      heard.corrupt.push(error.reason);
    },
  });
  for (const piece of pieces) decoder.push(piece);
  return heard;
}

/** Cuts `whole` at the given places, taken modulo its length. */
function cut(whole: Buffer, places: readonly number[]): Buffer[] {
  const at = [...new Set(places.map((place) => place % (whole.length + 1)))].sort((a, b) => a - b);
  return [0, ...at].map((start, i) => whole.subarray(start, at[i] ?? whole.length));
}

const places = fc.array(fc.nat(), { maxLength: 12 });
const sessionId = fc
  .uint8Array({ minLength: SESSION_ID_LENGTH / 2, maxLength: SESSION_ID_LENGTH / 2 })
  .map((bytes) => Buffer.from(bytes).toString('hex'));

/** Payloads as nasty as they come: pieces of the marker, whole markers, record headers, plain bytes. */
const payload = fc
  .array(
    fc.oneof(
      fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
      fc.constant(SYNC_MAGIC),
      fc.constant(encodeSync('0123456789abcdef')),
      fc.nat(SYNC_MAGIC.length).map((n) => SYNC_MAGIC.subarray(0, n)),
      fc.nat(SYNC_MAGIC.length).map((n) => SYNC_MAGIC.subarray(n)),
      fc.constant(encodeEnd()),
    ),
    { minLength: 1, maxLength: 8 },
  )
  .map((parts) => Buffer.concat(parts));

const dataOf = (payloads: readonly Buffer[]): Buffer => Buffer.concat(payloads.flatMap((p) => encodeData(p)));

describe('the byte channel', () => {
  it('delivers a session whole however it is cut and whatever its payloads contain', () => {
    fc.assert(
      fc.property(sessionId, fc.array(payload, { maxLength: 5 }), places, (session, payloads, at) => {
        const wire = Buffer.concat([encodeSync(session), dataOf(payloads), encodeEnd()]);
        const heard = listen(cut(wire, at));
        expect(heard.syncs).toEqual([session]);
        expect(heard.bytes).toEqual(Buffer.concat(payloads));
        expect([heard.ends, heard.corrupt]).toEqual([1, []]);
      }),
      { numRuns: 500 },
    );
  });

  it('shows no marker inside a session', () => {
    fc.assert(
      fc.property(fc.array(payload, { maxLength: 5 }), (payloads) => {
        expect(dataOf(payloads).includes(SYNC_MAGIC)).toBe(false);
      }),
      { numRuns: 500 },
    );
  });

  it('recognises a new session behind a session cut off anywhere, in its marker too', () => {
    fc.assert(
      fc.property(
        sessionId,
        fc.array(payload, { maxLength: 3 }),
        fc.nat(),
        sessionId,
        payload,
        places,
        (old, oldPayloads, cutOff, session, fresh, at) => {
          const before = Buffer.concat([encodeSync(old), dataOf(oldPayloads)]);
          const after = Buffer.concat([encodeSync(session), dataOf([fresh])]);
          const heard = listen(cut(Buffer.concat([before.subarray(0, cutOff % (before.length + 1)), after]), at));
          expect(heard.syncs.at(-1)).toBe(session);
          expect(heard.bytes).toEqual(fresh);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('discards the stale second half of anything before the first sync', () => {
    fc.assert(
      fc.property(
        fc.array(payload, { maxLength: 3 }),
        fc.nat(),
        sessionId,
        payload,
        places,
        (stale, from, id, p, at) => {
          const half = dataOf(stale);
          const wire = Buffer.concat([half.subarray(from % (half.length + 1)), encodeSync(id), dataOf([p])]);
          const heard = listen(cut(wire, at));
          expect([heard.syncs, heard.corrupt]).toEqual([[id], []]);
          expect(heard.bytes).toEqual(p);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('survives any bytes at all and still finds the next session', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 6 }), payload, (noise, p) => {
        const id = newSessionId();
        const pieces = noise.map((bytes) => Buffer.from(bytes));
        const heard = listen([encodeSync(newSessionId()), ...pieces, encodeSync(id), ...encodeData(p)]);
        expect(heard.syncs.at(-1)).toBe(id);
        expect(heard.bytes).toEqual(p);
      }),
    );
  });

  it('splits a payload larger than a record and puts it together again', () => {
    const large = Buffer.alloc(3 * MAX_RECORD_PAYLOAD + 5, 'x');
    const records = encodeData(large);
    expect(records.filter((_, i) => i % 2 === 1).map((r) => r.length)).toEqual([65536, 65536, 65536, 5]);
    expect(listen([encodeSync(NO_SESSION), ...records]).bytes).toEqual(large);
  });

  it.each([
    ['an unknown record type', Buffer.from([0x03])],
    ['an empty record', Buffer.from([0x01, 0, 0, 0, 0])],
    ['a record over 64 KiB', Buffer.from([0x01, 1, 0, 1, 0])],
  ])('reports %s once and hears nothing more of that session', (_, bytes) => {
    const heard = listen([encodeSync(newSessionId()), bytes, dataOf([Buffer.from('late')])]);
    expect(heard.corrupt).toEqual(['CHANNEL_CORRUPT']);
    expect(heard.bytes.length).toBe(0);
  });

  it('hears nothing more of a session after its end', () => {
    const heard = listen([encodeSync(newSessionId()), encodeEnd(), encodeEnd(), dataOf([Buffer.from('late')])]);
    expect([heard.ends, heard.bytes.length, heard.corrupt]).toEqual([1, 0, []]);
  });
});
