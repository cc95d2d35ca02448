import { describe, expect, it } from 'vitest';
import { judgeRestarts, restartsReport } from './restarts.js';
import { summarize } from './statistics.js';

const result = {
  memoryMib: 256,
  vms: 100,
  readyAlone: summarize([500]),
  ready: summarize([900, 1100]),
  greeted: summarize([20_000]),
  loadAverage: { before: 0, after: 1 },
};

describe('restarts with VMs that run', () => {
  it('are judged by when the daemon serves, half of them at least', () => {
    expect(judgeRestarts([result])).toMatchObject([{ id: 'P12', memoryMib: 256, measured: 1000, met: true }]);
    expect(judgeRestarts([{ ...result, ready: summarize([1001]) }])).toMatchObject([{ met: false }]);
    expect(judgeRestarts([{ ...result, vms: 99 }])).toEqual([]);
  });

  it('are told beside those without any', () => {
    const told = restartsReport(result);
    for (const part of ['no VM runs', '100 VMs taken over', 'all 100 guests', 'load average 0 to 1'])
      expect(told).toContain(part);
  });
});
