import { InstanceState } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { failureOf } from '../harness/call-failure.js';
import { TestHost } from '../harness/test-host.js';

const countOf = (line: string): number => Number(/^count (\d+)$/.exec(line)?.[1]);

describe('an instance', () => {
  let host: TestHost;
  beforeAll(async () => {
    host = await TestHost.start();
    await host.boot('vm', 'disk-counter.cjs');
  });
  afterAll(async () => {
    await host[Symbol.asyncDispose]();
  });

  it('stands still while it is paused, and goes on where it stood', async () => {
    await host.logLine('vm', (line) => countOf(line) > 2);
    expect((await host.pause('vm')).state).toBe(InstanceState.INSTANCE_STATE_PAUSED);
    const bytes = await host.logBytes('vm');
    expect(await failureOf(host.pause('vm'))).toMatchObject({ status: 'FAILED_PRECONDITION' });
    expect((await host.resume('vm')).state).toBe(InstanceState.INSTANCE_STATE_RUNNING);
    let last = 0;
    for await (const line of host.logLines('vm')) {
      if (!line.startsWith('count ')) continue;
      expect(countOf(line)).toBe(last + 1);
      last = countOf(line);
      if (last > 20) break;
    }
    expect(await host.logBytes('vm')).toBeGreaterThan(bytes);
  });

  it('is still paused after a restart of the daemon, and can be parked so', async () => {
    await host.pause('vm');
    await host.stopDaemon('SIGKILL');
    await host.startDaemon();
    expect((await host.get('vm')).instance!.state).toBe(InstanceState.INSTANCE_STATE_PAUSED);
    expect((await host.standby('vm')).state).toBe(InstanceState.INSTANCE_STATE_STANDBY);
    expect((await host.restore('vm')).state).toBe(InstanceState.INSTANCE_STATE_RUNNING);
  });

  it('that was stopped starts from its own disk, with its workload, in fresh memory', async () => {
    await host.stop('vm');
    expect(await host.traces()).toMatchObject({ processes: 0, taps: 0 });
    const forkOfStopped = await host.fork({ source: 'vm', name: 'cold' });
    expect(forkOfStopped.instance!.state).toBe(InstanceState.INSTANCE_STATE_STOPPED);
    const started = await host.startInstance('vm');
    expect(started.state).toBe(InstanceState.INSTANCE_STATE_RUNNING);
    expect(await host.logLine('vm', (line) => line === 'start 2')).toBe('start 2');
  });

  it('that was forked from a stopped one starts from its clone of the disk', async () => {
    await host.startInstance('cold');
    expect(await host.logLine('cold', (line) => line.startsWith('start '))).toBe('start 2');
    await host.delete('cold');
  });

  it('can be forked from its disk alone, and booted from the clone at once', async () => {
    await host.stop('vm');
    const { instance } = await host.fork({
      source: 'vm',
      name: 'warm',
      targetState: InstanceState.INSTANCE_STATE_RUNNING,
    });
    expect(instance!.state).toBe(InstanceState.INSTANCE_STATE_RUNNING);
    expect(await host.logLine('warm', (line) => line.startsWith('start '))).toBe('start 3');
    const mailboxes = [{ name: 'task', payload: { $case: 'json' as const, json: '{}' } }];
    expect(await failureOf(host.fork({ source: 'vm', mailboxes }))).toMatchObject({
      status: 'FAILED_PRECONDITION',
      details: { reason: 'MAILBOXES_NEED_MEMORY' },
    });
    await host.delete('warm');
  });

  it('that failed can be started again, and not forked', async () => {
    await host.startInstance('vm');
    process.kill((await host.get('vm')).instance!.vmmPid, 'SIGKILL');
    const killed = performance.now();
    const failed = await host.untilState('vm', InstanceState.INSTANCE_STATE_FAILED);
    expect(performance.now() - killed).toBeLessThan(1000);
    const [how, console = ''] = failed.stateReason.split('; end of the console:\n');
    expect(how).toContain('the hypervisor ended by signal SIGKILL');
    // What its kernel and agent said last, after a whole boot.
    const said = await host.consoleText('vm');
    expect(console.trim().length).toBeGreaterThan(100);
    expect(said.trimEnd().endsWith(console.trim().slice(-100))).toBe(true);
    for (const fromRunning of [false, true])
      expect(await failureOf(host.fork({ source: 'vm', fromRunning }))).toMatchObject({
        status: 'FAILED_PRECONDITION',
        details: { reason: 'INSTANCE_STATE' },
      });
    const { stateReason, state } = await host.startInstance('vm');
    expect({ stateReason, state }).toEqual({ stateReason: '', state: InstanceState.INSTANCE_STATE_RUNNING });
  });
});
