import { once } from 'node:events';
import { Unreachable } from '@offshoot/shared/errors.js';
import { describe, expect, it } from 'vitest';
import { PauseLimit } from './pause-limit.js';

const never = new AbortController().signal;

describe('the limit of a pause', () => {
  it.each(['successor started', 'paused'] as const)(
    'counts from the step %s on, and is told in place of what it broke',
    async (step) => {
      using limit = new PauseLimit('vm', 1, never);
      limit.reached('base copied');
      limit.reached(step);
      await once(limit.signal, 'abort');
      expect(limit.explain(new Error('aborted'))).toMatchObject({
        kind: 'Timeout',
        reason: 'PAUSE_LIMIT',
        metadata: { instance: 'vm', limit_seconds: '0.001' },
      });
    },
  );

  it('does not hide that the VM could not go on, or is gone', async () => {
    using limit = new PauseLimit('vm', 1, never);
    limit.begin();
    await once(limit.signal, 'abort');
    for (const reason of ['RESUME_FAILED', 'VMM_GONE']) {
      const worse = new Unreachable('both', { reason });
      expect(limit.explain(worse)).toBe(worse);
    }
  });

  it('is over when the VM went on, for good', async () => {
    using limit = new PauseLimit('vm', 1, never);
    limit.reached('paused');
    limit.reached('went on');
    limit.begin();
    using other = new PauseLimit('other', 5, never);
    other.begin();
    await once(other.signal, 'abort');
    expect(limit.signal.aborted).toBe(false);
    const failure = new Error('late');
    expect(limit.explain(failure)).toBe(failure);
  });

  it('leaves what the caller broke off to the caller', () => {
    const caller = new AbortController();
    using limit = new PauseLimit('vm', 60_000, caller.signal);
    limit.begin();
    caller.abort(new Error('gone'));
    expect(limit.signal.reason).toBe(caller.signal.reason);
    expect(limit.explain(caller.signal.reason)).toBe(caller.signal.reason);
  });
});
