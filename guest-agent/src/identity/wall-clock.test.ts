import { describe, expect, it } from 'vitest';
import { RecordedParts } from './recorded-parts.js';
import { catchUp } from './wall-clock.js';

describe('a clock that hears the time by call', () => {
  it.each([
    ['is set forward when it stood still', 9000, 4000, ['clock 9000']],
    ['is left alone when it is behind by no more than a call takes', 5099, 0, []],
    ['is never set back', 4000, 0, []],
  ])('%s', (_, hostTime, step, calls) => {
    const { clock, calls: made } = new RecordedParts();
    expect(catchUp(clock, hostTime)).toBe(step);
    expect(made).toEqual(calls);
  });
});
