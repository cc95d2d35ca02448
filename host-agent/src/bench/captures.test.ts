import { describe, expect, it } from 'vitest';
import { judgeCaptures, type CapturesResult } from './captures.js';
import { summarize } from './statistics.js';

const later = (writtenMib: number, dirtyMib: number, pauseMs: number) => ({
  writtenMib,
  dirtyMib: summarize([dirtyMib]),
  pause: summarize([pauseMs]),
  standby: summarize([pauseMs]),
});
const result: CapturesResult = {
  memoryMib: 512,
  firstPause: summarize([26]),
  later: [later(0, 1.3, 4), later(3, 9.1, 16), later(58, 65, 60)],
  standbyBooted: summarize([6]),
  forks: [],
  loadAverage: { before: 0, after: 0 },
};

describe("the goals for a source's pause", () => {
  it('are for its first capture, and for later ones with up to about 8 MiB changed', () => {
    const told = judgeCaptures([result]).map(({ what, measured, met }) => [what, measured, met]);
    expect(told).toEqual([
      ['source pause, first capture', 26, true],
      ['source pause, 1.3 MiB changed', 4, true],
      ['source pause, 9.1 MiB changed', 16, false],
    ]);
  });
});
