import { describe, expect, it } from 'vitest';
import { inEvictionOrder, takenBy } from './eviction-order.js';

describe('what images take', () => {
  const image = (id: string, lastUse: string, files: readonly (readonly [string, number])[]) => ({
    id,
    lastUse,
    files: new Map(files),
  });

  it('is the sum of their files, each once', () => {
    const [one, other] = [
      image('a', '1', [
        ['1:1', 10],
        ['1:2', 5],
      ]),
      image('b', '2', [
        ['1:3', 7],
        ['1:2', 5],
      ]),
    ];
    expect(takenBy([one, other])).toBe(22);
    expect(takenBy([one])).toBe(15);
    expect(takenBy([])).toBe(0);
  });

  it('is given back by the one first whose last use is longest ago', () => {
    const images = [image('a', '2026-03', []), image('b', '2026-01', []), image('c', '2026-02', [])];
    expect(inEvictionOrder(images).map(({ id }) => id)).toEqual(['b', 'c', 'a']);
  });
});
