import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { CheckOutcome, DoctorRequest, type DoctorCheck } from '@offshoot/proto/generated/offshoot/v1/host_service.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestHost } from '../harness/test-host.js';

const { CHECK_OUTCOME_PASS: PASS, CHECK_OUTCOME_FAIL: FAIL } = CheckOutcome;

describe('a doctor on this machine', () => {
  let host: TestHost;
  beforeAll(async () => {
    host = await TestHost.start();
    await host.boot('runs', 'counter.cjs');
  });
  afterAll(async () => {
    await host[Symbol.asyncDispose]();
  });

  async function examine(fix = false): Promise<ReadonlyMap<string, DoctorCheck>> {
    const found = new Map<string, DoctorCheck>();
    const service = host.client.host;
    for await (const { check } of host.client.stream(service.doctor.bind(service), DoctorRequest.fromPartial({ fix })))
      found.set(check!.name, check!);
    return found;
  }

  it('finds what the tests need, an instance that runs among it, and nothing to remove', async () => {
    const found = await examine();
    for (const name of [
      'kernel',
      'clock',
      'e2fsprogs',
      'disk-space',
      'ports',
      'guest-agent',
      'images',
      'kernel-image',
      'leftovers',
    ])
      expect(found.get(name)).toMatchObject({ outcome: PASS, remedy: '' });
    expect(found.get('driver-qemu')!.outcome).not.toBe(FAIL);
    expect(found.get('driver-vz')!.detail).toMatch(/not available: .*macOS/);
    expect(found.get('state-directory')!.detail).toMatch(/ on (ext4|xfs|btrfs|tmpfs|overlay)/);
  });

  it('finds a process and a folder of an instance that does not exist, and ends and removes them when told to', async () => {
    const folder = join(host.machine.stateDirectory, 'instances', '01hxxxxxxxxxxxxxxxxxxxxxxx');
    mkdirSync(folder);
    const stray = spawn(process.execPath, ['-e', 'process.stdin.resume()'], {
      cwd: folder,
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    await once(stray, 'spawn');
    const ended = once(stray, 'exit');
    const left = (await examine()).get('leftovers')!;
    expect(left).toMatchObject({ outcome: FAIL, remedy: expect.stringContaining('--fix') as string });
    expect(left.detail).toBe('folder of 01hxxxxxxxxxxxxxxxxxxxxxxx, process of 01hxxxxxxxxxxxxxxxxxxxxxxx');
    expect(existsSync(folder)).toBe(true);
    expect((await examine(true)).get('leftovers')).toMatchObject({ outcome: PASS });
    expect(await ended).toEqual([null, 'SIGKILL']);
    expect(existsSync(folder)).toBe(false);
    expect((await host.list()).map(({ name }) => name)).toEqual(['runs']);
    expect(await host.logLine('runs', (line) => line.startsWith('count'))).toBeTruthy();
  });
});
