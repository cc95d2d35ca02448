import { truncate } from 'node:fs/promises';
import { FRAME_LAYOUT, FRAME_MAGIC, FRAME_SIZE } from '@offshoot/shared/mailbox/frame-layout.js';
import { describe, expect, it } from 'vitest';
import { MAX_FRAMES, scanMemoryFile } from './frame-finder.js';
import { MemoryFile, framePage } from './test-memory.js';

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const ram = (size: number): { gpa: number; size: number; fileOffset: number }[] => [{ gpa: 0, size, fileOffset: 0 }];

describe('the search for mailbox frames', () => {
  it('finds frames in any page of the data, the first and the last included, by ascending address', async () => {
    await using memory = await MemoryFile.create(ram(16 * MIB));
    const addresses = [0, FRAME_SIZE, MIB - FRAME_SIZE, MIB, 8 * MIB, 16 * MIB - FRAME_SIZE];
    for (const [i, gpa] of addresses.toReversed().entries()) await memory.arm({ gpa, nonce: BigInt(i) });
    const { frames, invalid, limitReached } = await scanMemoryFile(memory.path, memory.regions);
    expect(frames.map(({ gpa }) => gpa)).toEqual(addresses);
    expect(invalid).toEqual({});
    expect(limitReached).toBe(false);
  });

  it('reports what the frame says, and its token only as a digest', async () => {
    await using memory = await MemoryFile.create(ram(MIB));
    await memory.arm({
      gpa: 8192,
      name: 'offshoot.network',
      token: 'tk',
      nonce: 0xabcn,
      segmentIndex: 2,
      segmentCount: 3,
    });
    const { frames } = await scanMemoryFile(memory.path, memory.regions);
    expect(frames).toEqual([
      {
        name: 'offshoot.network',
        tokenSha256: '1ec22d56dbbc91e849b00643bc4f10eb764441c93bde5c6090fe81db55cf6932',
        nonce: '0000000000000abc',
        segmentIndex: 2,
        segmentCount: 3,
        state: 'armed',
        generation: 0,
        gpa: 8192,
      },
    ]);
    expect(JSON.stringify(frames)).not.toContain('"tk"');
  });

  it('translates file offsets to guest-physical addresses, region by region, and looks at nothing between regions', async () => {
    const regions = [
      { gpa: 0, size: 2 * MIB, fileOffset: MIB },
      { gpa: 4 * GIB, size: 2 * MIB, fileOffset: 5 * MIB },
    ];
    await using memory = await MemoryFile.create(regions);
    await memory.arm({ gpa: 4096 }, { gpa: 4 * GIB + 8192, nonce: 2n });
    await using whole = await MemoryFile.create(ram(8 * MIB));
    await whole.arm({ gpa: 0 }, { gpa: MIB + 4096 }, { gpa: 3 * MIB }, { gpa: 5 * MIB + 8192 });
    const addresses = async (path: string): Promise<number[]> =>
      (await scanMemoryFile(path, regions)).frames.map(({ gpa }) => gpa);
    expect(await addresses(memory.path)).toEqual([4096, 4 * GIB + 8192]);
    expect(await addresses(whole.path)).toEqual([4096, 4 * GIB + 8192]);
  });

  it('does not read holes', async () => {
    await using memory = await MemoryFile.create(ram(8 * GIB));
    await memory.arm({ gpa: GIB }, { gpa: 7 * GIB + MIB, nonce: 2n });
    const { frames, bytesRead } = await scanMemoryFile(memory.path, memory.regions);
    expect(frames).toHaveLength(2);
    expect(bytesRead).toBeLessThanOrEqual(4 * MIB);
  });

  it('does not read a hole at the end of a region, though there is data right behind it', async () => {
    const regions = ram(64 * 1024);
    await using memory = await MemoryFile.create(ram(MIB));
    await memory.arm({ gpa: 0 }, { gpa: 64 * 1024 });
    const { frames, bytesRead } = await scanMemoryFile(memory.path, regions);
    expect(frames.map(({ gpa }) => gpa)).toEqual([0]);
    expect(bytesRead).toBeLessThan(64 * 1024);
  });

  it('reads through holes too small to be worth a seek', async () => {
    await using memory = await MemoryFile.create(ram(4 * MIB));
    const addresses = Array.from({ length: 128 }, (_, i) => i * 8192);
    await memory.arm(...addresses.map((gpa) => ({ gpa, nonce: BigInt(gpa) })));
    const { frames, bytesRead } = await scanMemoryFile(memory.path, memory.regions);
    expect(frames.map(({ gpa }) => gpa)).toEqual(addresses);
    expect(bytesRead).toBeLessThanOrEqual(MIB);
  });

  it('finds nothing in an empty memory', async () => {
    await using memory = await MemoryFile.create(ram(64 * MIB));
    expect(await scanMemoryFile(memory.path, memory.regions)).toEqual({
      frames: [],
      invalid: {},
      limitReached: false,
      bytesRead: 0,
    });
  });

  it('ignores a frame that does not begin at a page', async () => {
    await using memory = await MemoryFile.create(ram(MIB));
    await memory.write(4096 + 16, framePage({}));
    expect((await scanMemoryFile(memory.path, memory.regions)).frames).toEqual([]);
  });

  it('counts pages that begin with the magic and are no frame, by what is wrong, and finds the good ones among them', async () => {
    await using memory = await MemoryFile.create(ram(4 * MIB));
    const page = Buffer.alloc(FRAME_SIZE);
    FRAME_MAGIC.copy(page);
    await memory.write(0, Buffer.concat(Array.from({ length: 1000 }, () => page)));
    const wrongState = framePage({});
    wrongState.writeUInt32LE(99, FRAME_LAYOUT.state.offset);
    await memory.write(4096 * 500, wrongState);
    await memory.arm({ gpa: 4096 * 700 });
    const { frames, invalid } = await scanMemoryFile(memory.path, memory.regions);
    expect(frames.map(({ gpa }) => gpa)).toEqual([4096 * 700]);
    expect(invalid).toEqual({ name: 998, state: 1 });
  });

  it('stops at 4096 frames and says so', async () => {
    await using memory = await MemoryFile.create(ram(32 * MIB));
    const page = framePage({});
    await memory.write(0, Buffer.concat(Array.from({ length: MAX_FRAMES }, () => page)));
    expect(await scanMemoryFile(memory.path, memory.regions)).toMatchObject({ limitReached: false });
    await memory.write(30 * MIB, page);
    const scan = await scanMemoryFile(memory.path, memory.regions);
    expect(scan.frames).toHaveLength(MAX_FRAMES);
    expect(scan.limitReached).toBe(true);
  });

  it('does not read on once it has stopped', async () => {
    await using memory = await MemoryFile.create(ram(64 * MIB));
    await memory.write(0, Buffer.concat(Array.from({ length: MAX_FRAMES + 1 }, () => framePage({}))));
    await memory.write(20 * MIB, Buffer.alloc(40 * MIB, 'x'));
    const { limitReached, bytesRead } = await scanMemoryFile(memory.path, memory.regions);
    expect(limitReached).toBe(true);
    expect(bytesRead).toBeLessThan(20 * MIB);
  });

  it('refuses a memory file that is shorter than its regions', async () => {
    await using memory = await MemoryFile.create(ram(4 * MIB));
    await memory.arm({ gpa: 0 });
    await truncate(memory.path, 2 * MIB);
    await expect(scanMemoryFile(memory.path, memory.regions)).rejects.toMatchObject({
      kind: 'Corrupt',
      reason: 'MEMORY_FILE_TRUNCATED',
    });
  });

  it('refuses a region that is not page-aligned', async () => {
    await using memory = await MemoryFile.create(ram(MIB));
    await expect(scanMemoryFile(memory.path, [{ gpa: 100, size: 4096, fileOffset: 0 }])).rejects.toMatchObject({
      reason: 'MEMORY_REGION_UNALIGNED',
    });
  });

  it('ends as cancelled when its signal does', async () => {
    await using memory = await MemoryFile.create(ram(MIB));
    await memory.arm({ gpa: 0 });
    await expect(scanMemoryFile(memory.path, memory.regions, AbortSignal.abort())).rejects.toMatchObject({
      kind: 'Aborted',
      reason: 'CANCELLED',
    });
  });
});
