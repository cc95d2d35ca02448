import { describe, expect, it } from 'vitest';
import { worthLayer } from './layer-policy.js';

const MIB = 2 ** 20;

describe('a further layer', () => {
  it('is worth it from 8 MiB on, as long as there are few', () => {
    for (let layers = 0; layers <= 8; layers++) expect(worthLayer(layers)).toBe(8 * MIB);
  });

  it('must hold twice as much each time where there are many, so that 1 TiB written makes fewer than 26', () => {
    let layers = 0;
    for (let written = 0; written < 2 ** 40; layers++) written += worthLayer(layers);
    expect(layers).toBeGreaterThan(20);
    expect(layers).toBeLessThan(26);
  });

  it('never has to hold more than all layers below it together, or than 8 MiB', () => {
    let written = 0;
    for (let layers = 0; layers < 30; layers++) {
      expect(worthLayer(layers)).toBeLessThanOrEqual(Math.max(8 * MIB, written));
      written += worthLayer(layers);
    }
  });
});
