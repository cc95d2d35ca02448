import { describe, expect, it } from 'vitest';
import { errorOfGuestStatus } from './guest-status.js';

describe('a status from a guest', () => {
  it('becomes an error of ours with the guest its own words', () => {
    expect(errorOfGuestStatus('StartWorkload', '9', 'a%20workload is running')).toMatchObject({
      kind: 'InvalidState',
      message: 'guest: StartWorkload: a workload is running',
    });
  });

  it('is none when the call went well', () => {
    expect(errorOfGuestStatus('Hello', '0', undefined)).toBeUndefined();
  });

  it('is cut short and freed of control characters', () => {
    const error = errorOfGuestStatus('Hello', '2', `%1B[2J${'x'.repeat(5000)}`);
    expect(error?.message.length).toBeLessThan(600);
    expect(error?.message).not.toMatch(/\p{Cc}/u);
  });

  it('is a cut call when it is missing or no number', () => {
    expect(errorOfGuestStatus('Hello', undefined, undefined)?.kind).toBe('Unreachable');
    expect(errorOfGuestStatus('Hello', 'zero', undefined)?.kind).toBe('Unreachable');
  });
});
