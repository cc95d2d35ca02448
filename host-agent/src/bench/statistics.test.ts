import { describe, expect, it } from 'vitest';
import { Series, quantile, summarize } from './statistics.js';

describe('a series of times', () => {
  it('is told by median, 95th percentile and maximum', () => {
    const times = Array.from({ length: 101 }, (_, i) => 100 - i);
    expect(summarize(times)).toEqual({ samples: 101, p50: 50, p95: 95, max: 100 });
  });

  it('has quantiles between two samples in proportion', () => {
    expect(quantile([1, 2], 0.5)).toBe(1.5);
    expect(quantile([7], 0.95)).toBe(7);
  });

  it('has no quantiles when it is empty', () => {
    expect(() => quantile([], 0.5)).toThrow(RangeError);
  });

  it('is kept by name', () => {
    const series = new Series<'spawn' | 'load'>();
    for (const ms of [3, 1, 2]) series.add('spawn', ms);
    expect(series.summaries()).toEqual({ spawn: { samples: 3, p50: 2, p95: 2.9, max: 3 } });
  });
});
