import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import { FRAME_SIZE } from '@offshoot/shared/mailbox/frame-layout.js';
import { noises, type Noise } from '@offshoot/shared/testing/noise.js';
import { FUZZ_TIMEOUT_MS, holdsAsync } from '@offshoot/shared/testing/property.js';
import { STATES, faultsOf, pageOf, unpadded } from '@offshoot/shared/testing/reference-frame.js';
import { scribbledPage, someMarker } from '@offshoot/shared/testing/some-frame.js';
import fc from 'fast-check';
import { describe, it } from 'vitest';
import type { MemoryRegion } from '../domain/instance.js';
import { scanMemoryFile } from './frame-finder.js';
import { locatedFrame, type LocatedFrame } from './located-frame.js';
import { readFramesAt } from './memory-file.js';
import { MemoryFile } from './test-memory.js';

const PAGES_WRITTEN = 250;
const GIB = 2 ** 30;

/** Pages of a memory file by their offset in it, also where no region is. */
type Pages = Map<number, Buffer>;

/** Frames, things that look like one, and garbage. */
function somePage(noise: Noise): Buffer {
  return noise.pick([scribbledPage, scribbledPage, garbage, shifted])(noise);
}

/** No frame: text, zeros with an end, or the magic but for its last byte. */
const garbage = (noise: Noise): Buffer => {
  const page = Buffer.alloc(FRAME_SIZE, noise.pick(['\0', 'OFFSHOOT', 'x']));
  if (noise.once(2)) page.write('OFFSHOOT-MBOX-1', 0);
  page.writeUInt8(1 + noise.below(255), 15);
  return page;
};

/** A good frame that does not begin its page. */
const shifted = (noise: Noise): Buffer => {
  const page = Buffer.alloc(FRAME_SIZE);
  pageOf(someMarker(noise)).copy(page, noise.pick([1, 8, 16, 256, 512]));
  return page;
};

/** One to three stretches of RAM, in the file close to each other or apart, and in the guest anywhere. */
function someRegions(noise: Noise): MemoryRegion[] {
  let fileOffset = noise.below(3) * FRAME_SIZE;
  let gpa = noise.below(3) * FRAME_SIZE;
  return Array.from({ length: 1 + noise.below(3) }, () => {
    const region = { gpa, fileOffset, size: FRAME_SIZE * noise.pick([1, 2, 64, 256, 257, 1 + noise.below(3000)]) };
    fileOffset += region.size + noise.pick([0, 0, FRAME_SIZE, 70 * FRAME_SIZE]);
    gpa += region.size + noise.pick([0, FRAME_SIZE, GIB, 4 * GIB]);
    return region;
  });
}

/** Close together, at the edges of regions, beyond them, and far apart, so that there are holes of all sizes. */
function somePages(noise: Noise, regions: readonly MemoryRegion[]): Pages {
  const pages: Pages = new Map();
  const [first] = regions;
  const edges = regions.flatMap(({ fileOffset, size }) => [
    fileOffset,
    fileOffset + size - FRAME_SIZE,
    fileOffset + size,
  ]);
  const end = Math.max(...edges) / FRAME_SIZE;
  let last = first?.fileOffset ?? 0;
  for (let count = 0; count < PAGES_WRITTEN; count++) {
    const edge = edges[noise.below(edges.length)] ?? 0;
    last = noise.pick([
      last + FRAME_SIZE,
      last + FRAME_SIZE,
      last + 65 * FRAME_SIZE,
      noise.below(end) * FRAME_SIZE,
      edge,
    ]);
    pages.set(last, somePage(noise));
  }
  return pages;
}

/** What a page says when it is a frame, read without the code under test. */
function frameIn(page: Buffer, gpa: number): LocatedFrame | undefined {
  if (faultsOf(page).size > 0) return undefined;
  return {
    name: unpadded(page.subarray(16, 80))!.toString(),
    tokenSha256: createHash('sha256')
      .update(unpadded(page.subarray(80, 208))!)
      .digest('hex'),
    nonce: Buffer.from(page.subarray(216, 224)).reverse().toString('hex'),
    segmentIndex: page.readUInt16LE(208),
    segmentCount: page.readUInt16LE(210),
    state: STATES[page.readUInt32LE(212)]!,
    generation: page.readUInt32LE(224),
    gpa,
  };
}

/** The pages a guest can see, by their address, ascending. */
function inRam(pages: Pages, regions: readonly MemoryRegion[]): ReadonlyMap<number, Buffer> {
  const seen = regions.flatMap(({ gpa, fileOffset, size }) =>
    [...pages]
      .filter(([offset]) => offset >= fileOffset && offset < fileOffset + size)
      .map(([offset, page]) => [gpa + offset - fileOffset, page] as const),
  );
  return new Map(seen.sort(([a], [b]) => a - b));
}

const hasMagic = (page: Buffer): boolean => page.toString('latin1', 0, 16) === 'OFFSHOOT-MBOX-1\0';

/** Writes the pages into a new file, which has holes everywhere else. */
async function fileOf(pages: Pages, regions: readonly MemoryRegion[]): Promise<MemoryFile> {
  const memory = await MemoryFile.create(regions);
  const file = openSync(memory.path, 'r+'); // a hand-over to a thread for each page would cost more than the page
  try {
    for (const [offset, page] of pages) writeSync(file, page, 0, page.length, offset);
  } finally {
    closeSync(file);
  }
  return memory;
}

/** Addresses an agent can report: right ones, over holes, at and beyond the edges of RAM, off the page, and nonsense. */
function someAddresses(noise: Noise, pages: Pages, regions: readonly MemoryRegion[]): number[] {
  const edges = regions.flatMap(({ gpa, size }) => [gpa, gpa + size - FRAME_SIZE, gpa + size, gpa - FRAME_SIZE]);
  const written = regions.flatMap(({ gpa, fileOffset, size }) =>
    [...pages.keys()].filter((at) => at >= fileOffset && at < fileOffset + size).map((at) => gpa + at - fileOffset),
  );
  return Array.from({ length: PAGES_WRITTEN }, () => {
    const { gpa, size } = regions[noise.below(regions.length)]!;
    const inRegion = gpa + noise.below(size / FRAME_SIZE) * FRAME_SIZE;
    const near = edges[noise.below(edges.length)]!;
    const known = written[noise.below(written.length)] ?? near;
    return noise.pick([known, known, inRegion, near, near + 1 + noise.below(4095), known + 16, 2 ** 52, -FRAME_SIZE]);
  });
}

describe('in any memory', { timeout: FUZZ_TIMEOUT_MS }, () => {
  it('the search finds exactly the frames in RAM, and counts what only begins like one', async () => {
    await holdsAsync(
      fc.asyncProperty(noises, async (noise) => {
        const regions = someRegions(noise);
        const pages = somePages(noise, regions);
        await using memory = await fileOf(pages, regions);
        const { frames, invalid, limitReached } = await scanMemoryFile(memory.path, regions);
        const ram = [...inRam(pages, regions)];
        const expected = ram.map(([gpa, page]) => frameIn(page, gpa)).filter((frame) => frame !== undefined);
        deepStrictEqual(frames, expected);
        const lookalikes = ram.filter(([, page]) => hasMagic(page)).length - expected.length;
        strictEqual(
          Object.values(invalid).reduce((sum, count) => sum + count, 0),
          lookalikes,
        );
        ok(!limitReached);
      }),
      PAGES_WRITTEN,
    );
  });

  it('a registration yields the frame at its address, and nothing over a hole, outside RAM or off the page', async () => {
    await holdsAsync(
      fc.asyncProperty(noises, async (noise) => {
        const regions = someRegions(noise);
        const pages = somePages(noise, regions);
        await using memory = await fileOf(pages, regions);
        const addresses = someAddresses(noise, pages, regions);
        const ram = inRam(pages, regions);
        deepStrictEqual(
          (await readFramesAt(memory.path, regions, addresses)).map(({ header, gpa }) => locatedFrame(header, gpa)),
          addresses
            .map((gpa) => (ram.has(gpa) ? frameIn(ram.get(gpa)!, gpa) : undefined))
            .filter((frame) => frame !== undefined),
        );
      }),
      PAGES_WRITTEN,
    );
  });
});
