import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { OutputRing } from './output-ring.js';

const KIB = 1024;

describe('the ring of workload output', () => {
  it('gives back the bytes at their offsets however they were appended', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(150 * KIB), { maxLength: 8 }), fc.nat(), (sizes, from) => {
        const ring = new OutputRing(128 * KIB);
        const all = Buffer.concat(sizes.map((size, i) => Buffer.alloc(size, i + 1)));
        let at = 0;
        for (const size of sizes) ring.append(all.subarray(at, (at += size)));
        expect(ring.end).toBe(all.length);
        let next = from % (all.length + 1);
        let expected = Math.max(next, ring.start);
        while (next < ring.end) {
          const { offset, data } = ring.read(next, 10 * KIB);
          expect([offset, data.length > 0]).toEqual([expected, true]);
          expect(data.equals(all.subarray(offset, offset + data.length))).toBe(true);
          next = expected = offset + data.length;
        }
      }),
      { numRuns: 50 },
    );
  });

  it('keeps the last MiB at least and little more', () => {
    const ring = new OutputRing();
    for (let i = 0; i < 500; i++) ring.append(Buffer.alloc(10_007));
    const kept = ring.end - ring.start;
    expect(kept).toBeGreaterThanOrEqual(KIB * KIB);
    expect(kept).toBeLessThanOrEqual(KIB * KIB + 64 * KIB);
  });

  it('calls back after each append until it is told to stop', () => {
    const ring = new OutputRing();
    const ends: number[] = [];
    const stop = ring.onAppend(() => ends.push(ring.end));
    ring.append(Buffer.from('ab'));
    ring.append(Buffer.from('c'));
    stop();
    ring.append(Buffer.from('d'));
    expect(ends).toEqual([2, 3]);
  });
});
