import { describe, expect, it } from 'vitest';
import { StandingCalls } from './standing-calls.js';

describe('the standing calls of a session', () => {
  it('hear no more once the session is over, nor when they end by themselves', () => {
    const calls = new StandingCalls();
    const ended: string[] = [];
    calls.add(() => ended.push('a'));
    const endB = calls.add(() => ended.push('b'));
    endB();
    expect(ended).toEqual(['b']);
    calls.endAll();
    calls.endAll();
    expect(ended).toEqual(['b', 'a']);
  });
});
