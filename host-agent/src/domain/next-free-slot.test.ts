import { Capacity } from '@offshoot/shared/errors.js';
import { describe, expect, it } from 'vitest';
import { nextFreeSlot } from './next-free-slot.js';

describe('The next free slot', () => {
  it('is the first one at first', () => {
    expect(nextFreeSlot(new Set(), 4, -1)).toBe(0);
  });

  it('comes after the one handed out last, even when an earlier one is free', () => {
    expect(nextFreeSlot(new Set([2]), 4, 1)).toBe(3);
  });

  it('begins again after the last one', () => {
    expect(nextFreeSlot(new Set([0]), 4, 3)).toBe(1);
  });

  it('is the one handed out last when no other is free', () => {
    expect(nextFreeSlot(new Set([0, 1, 3]), 4, 2)).toBe(2);
  });

  it('is found when the pool has become smaller than the slot handed out last', () => {
    expect(nextFreeSlot(new Set(), 4, 4000)).toBeLessThan(4);
  });

  it('is a matter of capacity when there is none', () => {
    expect(() => nextFreeSlot(new Set([0, 1, 2, 3]), 4, 1)).toThrow(Capacity);
    expect(() => nextFreeSlot(new Set(), 0, -1)).toThrow(Capacity);
  });
});
