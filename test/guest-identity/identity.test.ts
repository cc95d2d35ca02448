import { randomBytes } from 'node:crypto';
import type { Instance } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import type { ForkInstanceResponse } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestHost } from '../harness/test-host.js';
import { clockOffset } from './clock-offset.js';
import { bootProbe, probeOf, type Probe } from './identity-probe.js';

async function parked(host: TestHost, mode: readonly string[], firstLine: string): Promise<Instance> {
  await bootProbe(host, mode, firstLine);
  return host.standby('source', 'task');
}

const forkOf = (host: TestHost, name: string): Promise<ForkInstanceResponse> =>
  host.fork({
    source: 'source',
    name,
    mailboxes: [{ name: 'task', payload: { $case: 'json', json: '{}' } }],
  });

const msOf = ({ seconds, nanos }: { seconds: bigint; nanos: number }): number => Number(seconds) * 1000 + nanos / 1e6;

describe('five forks of one VM that slept for some seconds', () => {
  let host: TestHost;
  let source: Instance;
  const forks: ForkInstanceResponse[] = [];
  const clocks: number[] = [];
  beforeAll(async () => {
    host = await TestHost.start();
    const mark = `OFFSHOOT-CLOCK-${randomBytes(8).toString('hex')}`;
    source = await parked(host, ['clock', mark], 'clock runs');
    await new Promise((resolve) => setTimeout(resolve, 3000)); // the sleep that is tested
    for (let i = 1; i <= 5; i++) {
      const fork = await forkOf(host, `fork-${String(i)}`);
      forks.push(fork);
      clocks.push(await clockOffset(fork.instance!.vmmPid, mark));
      await host.delete(`fork-${String(i)}`);
    }
    console.log(`clocks of the forks against ours: ${clocks.map(Math.round).join(' ')} ms`);
  });
  afterAll(async () => {
    await host[Symbol.asyncDispose]();
  });

  it('each have the name and address of their instance, in the kernel and in the files', () => {
    for (const fork of forks) {
      const { files, identity } = probeOf(fork);
      const { name, network } = fork.instance!;
      expect(identity).toMatchObject({ hostname: name, mac: network!.mac, ipv4: network!.ipv4 });
      expect(files).toEqual({ hostname: name, machineId: identity.machineId, hosts: name });
      expect(identity.ipv4).not.toBe(source.network!.ipv4);
    }
  });

  it.each([
    ['machine ids', ({ identity }: Probe) => identity.machineId],
    ['random bytes of the kernel', ({ random }: Probe) => random],
    ['random UUIDs of a fresh process', ({ uuid }: Probe) => uuid],
    ['MAC addresses', ({ identity }: Probe) => identity.mac],
  ])('have five different %s', (_, of) => {
    expect(new Set(forks.map((fork) => of(probeOf(fork)))).size).toBe(5);
  });

  it('count one generation, and have no IPv6 address of the old MAC', () => {
    for (const fork of forks)
      expect(probeOf(fork)).toMatchObject({ generation: '1', identity: { generation: 1 }, ipv6: 0 });
  });

  it("have clocks within 50 ms of the host's, beside what lay between its look at the clock and their resume", () => {
    forks.forEach(({ timings }, i) => {
      const between = msOf(timings!.patch!) + msOf(timings!.resume!);
      expect(clocks[i]).toBeLessThan(50);
      expect(clocks[i]).toBeGreaterThan(-50 - between);
    });
  });
});

describe('a workload that says who it is in a tight loop', () => {
  it('goes on in a fork where it stood, and never looks at itself under the identity of the source', async () => {
    await using host = await TestHost.start();
    const source = await parked(host, ['loop'], 'who ');
    const old = `${source.network!.ipv4} source`;
    const turnOf = (line: string): number => Number(line.split(' ').at(-1));
    let last = 0;
    let unread = await host.logBytes('source');
    for await (const line of host.logLines('source')) {
      last = turnOf(line);
      if ((unread -= line.length + 1) <= 0) break;
    }
    for (const name of ['fork-a', 'fork-b']) {
      const { instance } = await forkOf(host, name);
      const lines: string[] = [];
      for await (const line of host.logLines(name)) if (lines.push(line) === 100) break;
      // The turn of the loop that the freeze cut through may have looked before and speak after it.
      expect(turnOf(lines[0]!)).toBeGreaterThan(last);
      expect(lines.slice(1).filter((line) => line.includes(old))).toEqual([]);
      expect(lines.at(-1)).toContain(`${instance!.network!.ipv4} ${name}`);
      await host.delete(name);
    }
  });

  it('forked while it runs, it never says the source’s address, hostname or random numbers in a fork', async () => {
    await using host = await TestHost.start();
    const source = await bootProbe(host, ['loop'], 'who ');
    const outcomes = await host.forkMany({
      fork: { source: 'source', name: 'job', fromRunning: true },
      count: 3,
    });
    const said: string[][] = [];
    for (const { outcome } of outcomes) {
      if (outcome?.$case !== 'fork') return expect.fail(outcome?.failure.message ?? 'no outcome');
      const { name, network } = outcome.fork.instance!;
      const lines: string[] = [];
      for await (const line of host.logLines(name)) if (lines.push(line) === 100) break;
      // But for the turn that the freeze cut through, as above.
      const own = lines.slice(1).map((line) => line.split(' '));
      expect(own.filter(([, address]) => address === source.network!.ipv4)).toEqual([]);
      expect(own.filter(([, , hostname]) => hostname === 'source')).toEqual([]);
      expect(own.at(-1)!.slice(1, 3)).toEqual([network!.ipv4, name]);
      said.push(own.map((words) => words[3]!));
      await host.delete(name);
    }
    // With what the source says after the capture, when its generator stood where those of the forks did.
    const ofSource: string[] = [];
    let unread = await host.logBytes('source');
    for await (const line of host.logLines('source')) {
      ofSource.push(line.split(' ')[3]!);
      unread -= line.length + 1;
      if (unread < -50 * line.length) break;
    }
    const all = [ofSource, ...said].flat();
    expect(new Set(all).size).toBe(all.length);
  });
});
