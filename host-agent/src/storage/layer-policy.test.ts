import { describe, expect, it } from 'vitest';
import { MOST_LAYERS, layersToMerge, worthLayer } from './layer-policy.js';

const MIB = 2 ** 20;

describe('a further layer', () => {
  it('is worth it from 8 MiB on, however much was written before', () => {
    for (let layers = 0; layers <= 2 * MOST_LAYERS; layers++) expect(worthLayer(layers)).toBe(8 * MIB);
  });

  it('must hold twice as much each time where they are not merged, so that 1 TiB written makes fewer than 50', () => {
    let layers = 0;
    for (let written = 0; written < 2 ** 40; layers++) written += worthLayer(layers);
    expect(layers).toBeGreaterThan(2 * MOST_LAYERS);
    expect(layers).toBeLessThan(50);
  });
});

describe('layers become one', () => {
  it('not as long as there are few', () => {
    for (let count = 0; count <= MOST_LAYERS; count++) expect(layersToMerge(Array(count).fill(MIB))).toBe(0);
  });

  it('down to one that is more than twice as large as they are together, eight at least', () => {
    const large = (others: number): number[] => [...Array<number>(others).fill(8), 16 * others + 1, 10_000];
    expect(layersToMerge(large(15))).toBe(15);
    expect(layersToMerge([...Array<number>(15).fill(8), 16 * 15, 10_000])).toBe(16);
    expect(layersToMerge([1, 100, ...Array<number>(15).fill(1000)])).toBe(17);
    expect(layersToMerge([...Array<number>(8).fill(1), 100, ...Array<number>(8).fill(100_000)])).toBe(8);
  });

  /** Writes layers of 8 MiB and merges whenever that is due. */
  function write(bytes: number, diskBytes: number): { most: number; fewestMerged: number; copies: number } {
    let layers: number[] = [];
    let [most, fewestMerged, copied] = [0, Infinity, 0];
    for (let written = 0; written < bytes; written += 8 * MIB) {
      layers = [8 * MIB, ...layers];
      most = Math.max(most, layers.length);
      const count = layersToMerge(layers);
      if (count === 0) continue;
      const merged = Math.min(
        diskBytes, // what was written twice is there once
        layers.slice(0, count).reduce((sum, each) => sum + each),
      );
      layers = [merged, ...layers.slice(count)];
      copied += merged;
      fewestMerged = Math.min(fewestMerged, count);
    }
    return { most, fewestMerged, copies: copied / bytes };
  }

  it('so that there are never more than one too many, whatever is written', () => {
    for (const diskGib of [1, 8, 100, 4096]) expect(write(2 ** 39, diskGib * 2 ** 30).most).toBe(MOST_LAYERS + 1);
  });

  it('and a byte is copied some six times, not once for each merge', () => {
    const { copies, fewestMerged } = write(100 * 2 ** 30, 100 * 2 ** 30);
    expect(copies).toBeLessThan(7);
    expect(fewestMerged).toBeGreaterThanOrEqual(8);
  });
});
