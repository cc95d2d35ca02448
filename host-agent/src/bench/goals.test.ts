import { describe, expect, it } from 'vitest';
import { judge } from './goals.js';
import type { RoundResult } from './round.js';
import { summarize } from './statistics.js';

const round = (memoryMib: number, hostMs: number): RoundResult => ({
  memoryMib,
  fork: { host: summarize([hostMs]), total: summarize([280]) },
  times: {
    standbyBooted: summarize([10]),
    stockMigrate: summarize([200]),
    stockRestore: summarize([400]),
  },
  daemonCpuMsPerFork: 10,
  loadAverage: { before: 0, after: 0 },
});

describe('the goals', () => {
  it('are judged for each size of memory by medians and by ratios to stock QEMU', () => {
    const told = judge([round(512, 50)], 'tcg').map(({ id, measured, met }) => [id, measured, met]);
    expect(told).toEqual([
      ['P1', 10, true],
      ['P1', 20, true],
      ['P2', 50, true],
      ['P2', 8, true],
      ['P4', 280, true],
    ]);
  });

  it('are stricter with KVM', () => {
    expect(judge([round(512, 50)], 'kvm').find(({ id }) => id === 'P4')?.met).toBe(false);
  });

  it('compare the largest memory with the smallest', () => {
    const growth = judge([round(512, 50), round(2048, 60)], 'tcg').find(({ id }) => id === 'P5');
    expect(growth).toMatchObject({ memoryMib: 2048, measured: 1.2, met: false });
  });
});
