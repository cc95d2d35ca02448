import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crc32 } from './crc32.js';

describe('CRC-32', () => {
  it('of 123456789 is the check value of the CRC catalogue, 0xcbf43926', () => {
    expect(crc32(Buffer.from('123456789'))).toBe(0xcbf43926);
  });

  it('is the one zlib puts into the trailer of a gzip member', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 5000 }), (bytes) => {
        const member = gzipSync(bytes, { level: 0 });
        expect(crc32(bytes)).toBe(member.readUInt32LE(member.length - 8));
      }),
      { numRuns: 2000 },
    );
  });
});
