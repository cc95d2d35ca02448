import { Capacity } from '@offshoot/shared/errors.js';
import { describe, expect, it } from 'vitest';
import { MemoryBudget } from './memory-budget.js';

describe('the memory for what is under way', () => {
  const refusal = (budget: MemoryBudget, parts: readonly number[]): Capacity => {
    try {
      using _booking = budget.book(parts, 'forking this instance');
    } catch (error) {
      expect(error).toBeInstanceOf(Capacity);
      return error as Capacity;
    }
    return expect.fail('it was not refused');
  };

  it('is what the host has left without the reserve', () => {
    const budget = new MemoryBudget(100, () => 300);
    budget.book([150, 50], 'this')[Symbol.dispose]();
    expect(refusal(budget, [201])).toMatchObject({
      reason: 'MEMORY_EXHAUSTED',
      metadata: { needed_bytes: '201', free_bytes: '200', reserve_bytes: '100' },
    });
  });

  it('is not promised twice, and is free again part by part', () => {
    const budget = new MemoryBudget(0, () => 300);
    const booking = budget.book([100, 100, 100], 'this');
    refusal(budget, [1]);
    booking.release(1);
    booking.release(1);
    refusal(budget, [101]);
    using _second = budget.book([100], 'that');
    booking[Symbol.dispose]();
    booking[Symbol.dispose]();
    refusal(budget, [201]);
    budget.book([200], 'the rest')[Symbol.dispose]();
  });

  it('is asked anew each time, and never by what needs none', () => {
    let left = 10;
    const budget = new MemoryBudget(1000, () => left);
    using _none = budget.book([0, 0], 'a fork that stays stopped');
    expect(refusal(budget, [1]).message).toMatch(/^forking this instance needs .* limits\.memory_reserve_mib/);
    left = 1001;
    using _one = budget.book([1], 'this');
  });
});
