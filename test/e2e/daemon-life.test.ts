import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InstanceState } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import { GetHostRequest } from '@offshoot/proto/generated/offshoot/v1/host_service.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { failureOf } from '../harness/call-failure.js';
import { TestHost } from '../harness/test-host.js';

const countOf = (line: string): number => Number(/^count (\d+)$/.exec(line)?.[1]);
const MIB = 2n ** 20n;

describe('VMs outlive the daemon', () => {
  let host: TestHost;
  beforeAll(async () => {
    host = await TestHost.start();
    await host.boot('source', 'fork-worker.cjs');
    await host.standby('source', 'task');
    await host.fork({ source: 'source', name: 'runner' });
  });
  afterAll(async () => {
    await host[Symbol.asyncDispose]();
  });

  it('a second daemon on the same directory is refused, and the first serves on', async () => {
    await expect(host.spawnDaemon({ listen: `unix://${join(host.root, 'second.sock')}` })).rejects.toThrow(
      /another daemon uses the state directory .*--state-dir/,
    );
    expect(await host.list()).toHaveLength(2);
  });

  it.each(['SIGKILL', 'SIGTERM'] as const)('after %s the next daemon takes them over', async (signal) => {
    const before = (await host.get('runner')).instance!;
    const counted = countOf(await host.logLine('runner', (line) => countOf(line) > 0));
    await host.stopDaemon(signal);
    await host.startDaemon();
    const after = (await host.get('runner')).instance!;
    expect(after).toEqual(before);
    expect((await host.get('source')).instance!.state).toBe(InstanceState.INSTANCE_STATE_STANDBY);

    // The log misses nothing of what was said while nobody listened.
    const numbers: number[] = [];
    for await (const line of host.logLines('runner')) {
      if (countOf(line) > 0) numbers.push(countOf(line));
      if (numbers.length > 60) break;
    }
    expect(numbers[0]).toBeLessThanOrEqual(counted);
    expect(numbers).toEqual(Array.from(numbers, (_, i) => numbers[0]! + i));

    // All that can be done with it still can.
    await host.standby('runner', 'task');
    const { acks } = await host.fork({
      source: 'runner',
      name: 'child',
      mailboxes: [{ name: 'task', payload: { $case: 'json', json: '{"number": 7}' } }],
    });
    expect(acks[0]!.detail).toContain('"number":7');
    await host.delete('child');
    await host.restore('runner');
  });

  it('the next daemon serves as soon as it holds all of them; their guests hear of it afterwards', async () => {
    await host.forkMany({ fork: { source: 'source', name: 'crowd' }, count: 3 });
    await host.stopDaemon('SIGKILL');
    await host.startDaemon();
    await host.daemon.logged('greeted the guests');
    const order = host.daemon.log.match(/took over a running VM|"ready"|greeted the guests/g)!;
    expect(order).toEqual([...Array<string>(4).fill('took over a running VM'), '"ready"', 'greeted the guests']);
    expect(host.daemon.log).toMatch(/"guests":4,.*greeted the guests/);
    for (const index of [0, 1, 2]) await host.delete(`crowd-${String(index)}`);
  });

  it('what a killed daemon had half made is removed by the next', async () => {
    const boot = host.boot('half', 'counter.cjs').catch(() => undefined);
    await host.untilListed('half');
    await host.untilProcesses(2);
    await host.stopDaemon('SIGKILL');
    await boot;
    await host.startDaemon();
    expect(await host.traces()).toMatchObject({ rows: ['runner', 'source'], folders: 2, processes: 1 });
  });

  it('a VM that dies is FAILED within a second, with the reason, and can be deleted', async () => {
    await host.fork({ source: 'source', name: 'victim' });
    process.kill((await host.get('victim')).instance!.vmmPid, 'SIGKILL');
    const killed = performance.now();
    const failed = await host.untilState('victim', InstanceState.INSTANCE_STATE_FAILED);
    expect(performance.now() - killed).toBeLessThan(1000);
    expect(failed.stateReason).toContain('the hypervisor ended by signal SIGKILL');
    expect(failed.vmmPid).toBe(0);
    await host.delete('victim', false);
  });

  it('a VM that died while no daemon ran is FAILED at the next start', async () => {
    await host.fork({ source: 'source', name: 'victim' });
    const { vmmPid } = (await host.get('victim')).instance!;
    await host.stopDaemon();
    process.kill(vmmPid, 'SIGKILL');
    await host.startDaemon();
    const { instance } = await host.get('victim');
    expect(instance).toMatchObject({ state: InstanceState.INSTANCE_STATE_FAILED });
    expect(instance!.stateReason).toContain('while no daemon ran');
    await host.delete('victim');
  });
});

describe('a QEMU that does not work', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'offshoot-qemu-'));
  });
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });
  const failedBoot = async (binary: string) => {
    await using host = await TestHost.start({ settings: { 'qemu.binary': binary } });
    const { client } = host;
    const { drivers } = await client.unary(client.host.getHost.bind(client.host), GetHostRequest.fromPartial({}));
    const failure = await failureOf(host.boot('vm', 'counter.cjs'));
    expect(await host.traces()).toEqual({ rows: [], folders: 0, processes: 0, taps: 0 });
    return { driver: drivers[0]!, failure };
  };

  it('because it is not there makes the driver unavailable, with the reason', async () => {
    const { driver, failure } = await failedBoot(join(folder, 'nowhere'));
    expect(driver).toMatchObject({ name: 'qemu', available: false });
    expect(driver.unavailableReason).toMatch(/nowhere/);
    expect(failure).toMatchObject({ status: 'UNIMPLEMENTED', details: { reason: 'DRIVER_UNAVAILABLE' } });
    expect(failure.message).toContain(driver.unavailableReason);
  });

  it('because it dies at start fails the boot with what it wrote to stderr', async () => {
    const binary = join(folder, 'dying-qemu');
    // Answers what it is asked about itself, and dies when it is to run a machine with memory.
    writeFileSync(
      binary,
      '#!/bin/sh\ncase "$*" in *memory-backend-file*) echo "qemu: the moon is in the wrong house" >&2; exit 1;; esac\nexec qemu-system-x86_64 "$@"\n',
    );
    chmodSync(binary, 0o755);
    const { failure } = await failedBoot(binary);
    expect(failure.status).toBe('UNAVAILABLE');
    expect(failure.message).toContain('the moon is in the wrong house');
  });
});

describe.skipIf(process.geteuid?.() !== 0)(
  'a full state directory (skipped: root, where this is not run as root)',
  () => {
    it('refuses a boot before any work, and a fork likewise', async () => {
      await using host = await TestHost.start({ stateBytes: 450 * 2 ** 20 });
      const failure = await failureOf(host.boot('vm', 'counter.cjs', { memoryBytes: 512n * MIB }));
      expect(failure).toMatchObject({ status: 'RESOURCE_EXHAUSTED', details: { reason: 'DISK_FULL' } });
      expect(await host.traces()).toEqual({ rows: [], folders: 0, processes: 0, taps: 0 });

      await host.boot('source', 'fork-worker.cjs', { memoryBytes: 256n * MIB });
      await host.standby('source', 'task');
      const before = await host.traces();
      // Fills what is left but a little, as another program on the host would.
      host.machine.fillStateDirectory(16 * 2 ** 20);
      expect(await failureOf(host.fork({ source: 'source' }))).toMatchObject({
        status: 'RESOURCE_EXHAUSTED',
        details: { reason: 'DISK_FULL' },
      });
      expect(await host.traces()).toEqual(before);
    });
  },
);
