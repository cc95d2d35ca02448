import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Quiescence } from './quiescence.js';

const request = { freezeWorkload: true, timeoutMs: 0 };

describe('a quiesce', () => {
  let calls: string[];
  let hooks: string[];
  let frozen: boolean;
  let now: number;
  /** What the host wrote into the memory of this VM. */
  let delivered: (() => void) | undefined;
  let syncing: Promise<void>;
  let quiescence: Quiescence;

  /** Time in which this VM runs. */
  const run = (ms: number): void => {
    for (let i = 0; i < ms; i++) {
      now += 1;
      vi.advanceTimersByTime(1);
    }
  };

  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] });
    [calls, hooks, frozen, now, delivered, syncing] = [[], [], false, 1000, undefined, Promise.resolve()];
    quiescence = new Quiescence({
      workload: {
        get frozen() {
          return frozen;
        },
        freeze: () => {
          calls.push('freeze');
          frozen = true;
          return Promise.resolve();
        },
        thaw: () => {
          if (frozen) calls.push('thaw');
          frozen = false;
        },
      },
      hooks: {
        list: () => hooks,
        run: () => {
          calls.push('hooks');
          return Promise.resolve();
        },
      },
      drained: () => {
        calls.push('drained');
        return Promise.resolve();
      },
      wipeSecrets: () => {
        calls.push('wipe');
      },
      sync: () => {
        calls.push('sync');
        return syncing;
      },
      look: () => {
        const found = delivered;
        delivered = undefined;
        if (found === undefined) return;
        quiescence.identityArrives();
        found();
      },
      now: () => now,
    });
  });
  afterEach(() => {
    quiescence.thaw();
    vi.useRealTimers();
  });

  it('runs hooks, writes the disks, freezes, takes in the output, wipes its secrets, and writes the disks again', async () => {
    hooks = ['/hook'];
    await quiescence.quiesce(request);
    expect(calls).toEqual(['hooks', 'sync', 'freeze', 'drained', 'wipe', 'sync']);
  });

  it('freezes nobody who does not want it', async () => {
    await quiescence.quiesce({ ...request, freezeWorkload: false });
    expect(calls).not.toContain('freeze');
    expect(calls).toContain('wipe');
  });

  it.each([1, 999, 60_001, 1.5, -1])('refuses a limit of %d ms', async (timeoutMs) => {
    await expect(quiescence.quiesce({ ...request, timeoutMs })).rejects.toMatchObject({ kind: 'InvalidInput' });
  });

  it('goes on by itself, a second after its limit, when no host speaks any more', async () => {
    await quiescence.quiesce({ ...request, timeoutMs: 2000 });
    run(2999);
    expect(frozen).toBe(true);
    run(1);
    expect(frozen).toBe(false);
  });

  it('waits ten seconds unless it is told', async () => {
    await quiescence.quiesce(request);
    run(10_999);
    expect(frozen).toBe(true);
    run(1);
    expect(frozen).toBe(false);
  });

  it('waits for ever once a host began a session: a fork must not go on by itself', async () => {
    await quiescence.quiesce({ ...request, timeoutMs: 1000 });
    quiescence.sessionBegan();
    run(100_000);
    expect(frozen).toBe(true);
    quiescence.thaw();
    expect(frozen).toBe(false);
  });

  it('heeds a session that begins in the second after the limit: a fork whose clock jumped', async () => {
    await quiescence.quiesce({ ...request, timeoutMs: 1000 });
    run(1999);
    quiescence.sessionBegan();
    run(100_000);
    expect(frozen).toBe(true);
  });

  it('never lets the limit go before an identity that is in memory', async () => {
    await quiescence.quiesce({ ...request, timeoutMs: 1000 });
    // Applying takes its time (hooks): the limit passes meanwhile.
    delivered = () => calls.push('identity');
    run(100_000);
    expect([frozen, calls.at(-1)]).toEqual([true, 'identity']);
  });

  it('knows in a fork since when it runs, whichever comes first, a timer or the channel', async () => {
    await quiescence.quiesce(request);
    run(1003);
    let ran = -1;
    delivered = () => (ran = quiescence.runningMs);
    // Captured here. The fork's first timer is late by what the emulator took.
    now += 300;
    vi.advanceTimersByTime(10);
    expect(Math.abs(ran - 300)).toBeLessThanOrEqual(10);
  });

  it('knows of no capture when there was none', async () => {
    expect(quiescence.runningMs).toBe(0);
    await quiescence.quiesce(request);
    quiescence.thaw();
    now += 500;
    expect(quiescence.runningMs).toBe(0);
  });

  it('can be asked for again, and then counts anew', async () => {
    await quiescence.quiesce({ ...request, timeoutMs: 2000 });
    run(1500);
    await quiescence.quiesce({ ...request, timeoutMs: 2000 });
    run(2999);
    expect(frozen).toBe(true);
  });

  it('is refused while another is under way', async () => {
    syncing = new Promise(() => undefined);
    void quiescence.quiesce(request);
    await expect(quiescence.quiesce(request)).rejects.toMatchObject({ reason: 'QUIESCE_RUNNING' });
  });

  it.each([
    [
      'a thaw',
      'QUIESCE_ENDED',
      () => {
        quiescence.thaw();
      },
    ],
    [
      'its limit',
      'QUIESCE_LIMIT',
      () => {
        run(11_000);
      },
    ],
  ])('that %s ends fails, and leaves nothing frozen', async (_, reason, end) => {
    let goOn = (): void => undefined;
    syncing = new Promise((resolve) => (goOn = resolve));
    const failed = expect(quiescence.quiesce(request)).rejects.toMatchObject({ reason });
    end();
    goOn();
    await failed;
    expect(frozen).toBe(false);
  });

  it('is taken over by an agent that starts beside a frozen workload, sessions or not', () => {
    frozen = true;
    quiescence.takeOver();
    quiescence.sessionBegan();
    run(10_999);
    expect(frozen).toBe(true);
    run(1);
    expect(frozen).toBe(false);
  });

  it('leaves no timer behind', async () => {
    await quiescence.quiesce(request);
    quiescence.thaw();
    expect(vi.getTimerCount()).toBe(0);
  });
});
