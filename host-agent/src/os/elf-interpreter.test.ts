import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { elfInterpreter } from './elf-interpreter.js';

const HEADER_BYTES = 64;
const SEGMENT_BYTES = 56;

/** A program of nothing but headers: the types of its segments, each with the same contents. */
function program(types: readonly number[], contents: string): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.write('\x7fELF\x02\x01', 'latin1');
  header.writeBigUInt64LE(BigInt(HEADER_BYTES), 32);
  header.writeUInt16LE(SEGMENT_BYTES, 54);
  header.writeUInt16LE(types.length, 56);
  const segments = types.map((type) => {
    const segment = Buffer.alloc(SEGMENT_BYTES);
    segment.writeUInt32LE(type, 0);
    segment.writeBigUInt64LE(BigInt(HEADER_BYTES + types.length * SEGMENT_BYTES), 8);
    segment.writeBigUInt64LE(BigInt(contents.length), 32);
    return segment;
  });
  return Buffer.concat([header, ...segments, Buffer.from(contents, 'latin1')]);
}

describe('the interpreter of a program', () => {
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'elf-'));
  });
  afterAll(() => rm(directory, { recursive: true }));

  async function of(bytes: Buffer): Promise<string | undefined> {
    const path = join(directory, 'program');
    await writeFile(path, bytes);
    return elfInterpreter(path);
  }

  it('is the one its segment names', async () => {
    expect(await of(program([6, 1, 3, 2], '/lib64/ld.so\0'))).toBe('/lib64/ld.so');
  });

  it('is none for one that is linked statically', async () => {
    expect(await of(program([6, 1, 2], '/lib64/ld.so\0'))).toBeUndefined();
  });

  it.each([
    ['a script', Buffer.from('#!/bin/sh\necho '.padEnd(200))],
    ['nothing', Buffer.alloc(0)],
    ['half a header', program([3], 'x').subarray(0, 40)],
    ['a header without its segments', program([3, 3], 'x').subarray(0, 100)],
  ])('is not looked for in %s', async (_, bytes) => {
    await expect(of(bytes)).rejects.toMatchObject({ kind: 'Corrupt', reason: 'NO_PROGRAM' });
  });
});
