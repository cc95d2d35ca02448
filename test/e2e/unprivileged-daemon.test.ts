import { readFileSync } from 'node:fs';
import {
  CheckOutcome,
  DoctorRequest,
  GetHostRequest,
  type DoctorCheck,
} from '@offshoot/proto/generated/offshoot/v1/host_service.js';
import { InstanceState, type Instance } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { missingForDaemonUser } from '../harness/daemon-user.js';
import { TestHost } from '../harness/test-host.js';

const missing = missingForDaemonUser();
const skipped = missing && ` (skipped: ${missing})`;
const SETTINGS = { 'qemu.accelerator': 'tcg' } as const;
const GATEWAY = '10.213.0.1';

const countOf = (line: string): number => Number(/^count (\d+)$/.exec(line)?.[1]);

/** User id and capabilities of a process, as the kernel has them. */
function rightsOf(pid: number): { readonly uids: readonly number[]; readonly capabilities: bigint } {
  const status = readFileSync(`/proc/${String(pid)}/status`, 'latin1');
  const [, uids = ''] = /^Uid:\s+(.*)$/m.exec(status) ?? [];
  const [, capabilities = ''] = /^CapEff:\s+(\w+)$/m.exec(status) ?? [];
  return { uids: [...new Set(uids.split('\t').map(Number))], capabilities: BigInt(`0x${capabilities}`) };
}

describe.skipIf(missing !== '')(`a daemon that is not root, whose helper is called by the real sudo${skipped}`, () => {
  let host: TestHost;
  let uid: number;
  let source: Instance;
  beforeAll(async () => {
    host = await TestHost.start({ user: {}, settings: SETTINGS });
    uid = await host.user.uid();
    source = await host.boot('source', 'fork-worker.cjs');
  });
  afterAll(async () => {
    await host[Symbol.asyncDispose]();
  });

  const fork = (name: string, number: number, from = 'source') =>
    host.fork({
      source: from,
      name,
      mailboxes: [
        {
          name: 'task',
          payload: { $case: 'json', json: JSON.stringify({ number }) },
        },
      ],
    });

  async function examine(): Promise<ReadonlyMap<string, DoctorCheck>> {
    const found = new Map<string, DoctorCheck>();
    const service = host.client.host;
    for await (const { check } of host.client.stream(service.doctor.bind(service), DoctorRequest.fromPartial({})))
      found.set(check!.name, check!);
    return found;
  }

  it('is without any right of its own, and so is its VMM', () => {
    expect(uid).toBeGreaterThan(0);
    for (const pid of [host.daemon.pid, source.vmmPid])
      expect(rightsOf(pid)).toEqual({ uids: [uid], capabilities: 0n });
  });

  it('had root set the network up by the helper, call by call', async () => {
    const service = host.client.host;
    const { network } = await host.client.unary(service.getHost.bind(service), GetHostRequest.fromPartial({}));
    expect(network).toMatchObject({ mode: 'tap', modeReason: '', gateway: GATEWAY });
    expect(host.machine.traces()).toMatchObject({ taps: 1, processes: 1 });
    const calls = host.user.logged().map((line) => /Z user (\d+) carried out \["(.*)"\]$/.exec(line)!.slice(1));
    expect(calls.every(([user]) => user === String(uid))).toBe(true);
    expect(calls.map(([, words = '']) => words.replaceAll(/[-_][0-9a-f]{6}(?![0-9a-f])|(?<=udp:)\d+/g, ''))).toEqual([
      'version',
      'capabilities',
      'version',
      'capabilities',
      ...['tap" "create" "ofk', 'bridge" "create" "ofbr" "10.213.0.0/20', 'tap" "create" "ofbr" "10.213.0.0/20" "6'],
      'nftables" "set" "offshoot" "open_ports=udp:',
    ]);
  });

  it('passes its doctor', async () => {
    const found = await examine();
    for (const name of ['privileged-helper', 'network', 'leftovers'])
      expect(found.get(name)).toMatchObject({ outcome: CheckOutcome.CHECK_OUTCOME_PASS });
  });

  it('parks a VM, and forks it with a payload, which the fork acknowledges as itself over its TAP', async () => {
    await host.standby('source', 'task');
    const { instance, acks } = await fork('one', 1);
    expect(JSON.parse(acks[0]!.detail)).toEqual({
      task: { number: 1 },
      address: instance!.network!.ipv4,
      mac: instance!.network!.mac,
    });
    expect(rightsOf(instance!.vmmPid)).toEqual({ uids: [uid], capabilities: 0n });
    expect(host.machine.traces()).toMatchObject({ taps: 1, processes: 1 });
  });

  it('has its VMs found again by the next, once killed, which parks and forks them', async () => {
    const before = (await host.get('one')).instance!;
    const counted = countOf(await host.logLine('one', (line) => countOf(line) > 0));
    await host.stopDaemon('SIGKILL');
    await host.startDaemon();
    expect((await host.get('one')).instance).toEqual(before);
    await host.logLine('one', (line) => countOf(line) > counted);
    await host.standby('one', 'task');
    const { acks } = await fork('two', 2, 'one');
    expect(acks[0]!.detail).toContain('"number":2');
    await host.restore('one');
    expect(host.machine.traces()).toMatchObject({ folders: 3, taps: 2, processes: 2 });
  });

  it('forks without the helper, and has its doctor say what is wrong, when sudo lets it no more', async () => {
    await host.user.forbid();
    const calls = host.user.logged().length;
    const { acks } = await fork('three', 3);
    expect(acks[0]!.detail).toContain('"number":3');
    await host.delete('three');
    const found = (await examine()).get('privileged-helper')!;
    expect(found.outcome).toBe(CheckOutcome.CHECK_OUTCOME_FAIL);
    expect(`${found.detail} ${found.remedy}`).toMatch(/a password is required.*NOPASSWD: \S*offshoot-privileged/s);
    expect(host.user.logged()).toHaveLength(calls);
  });

  it('is not started then, which leaves its VMs as they are, and is once sudo lets it again', async () => {
    await host.stopDaemon();
    const before = host.machine.traces();
    await expect(host.startDaemon()).rejects.toThrow(
      /cannot be run by sudo -n: sudo: a password is required.*NOPASSWD: \S*offshoot-privileged/s,
    );
    expect(host.machine.traces()).toEqual(before);
    await host.user.allow();
    await host.startDaemon();
    expect((await host.get('two')).instance!.state).toBe(InstanceState.INSTANCE_STATE_RUNNING);
    await host.logLine('two', (line) => line.startsWith('count '));
  });

  it('leaves nothing of what is deleted, and no network when it ends', async () => {
    for (const name of ['one', 'two', 'source']) await host.delete(name);
    expect(await host.traces()).toEqual({ rows: [], folders: 0, processes: 0, taps: 0 });
    expect(host.machine.networkLeft().links).toBeGreaterThan(0);
    await host.stopDaemon();
    expect(host.machine.networkLeft()).toEqual({ links: 0, tables: 0 });
    expect(host.user.logged().at(-1)).toMatch(/carried out \["bridge" "delete" "ofbr-\w+"\]$/);
  });

  it('says so when it may not take its network away, which the next does', async () => {
    await host.startDaemon();
    await host.user.forbid();
    const { daemon } = host;
    await host.stopDaemon();
    expect(daemon.log).toMatch(
      /take the network down.*NOPASSWD: \S*offshoot-privileged|NOPASSWD.*take the network down/,
    );
    expect(host.machine.networkLeft().tables).toBeGreaterThan(0);
    await host.user.allow();
    await host.startDaemon();
    await host.stopDaemon();
    expect(host.machine.networkLeft()).toEqual({ links: 0, tables: 0 });
    await host.user.forbid();
    await expect(host.startDaemon()).rejects.toThrow(/NOPASSWD: \S*offshoot-privileged/);
    expect(host.machine.networkLeft()).toEqual({ links: 0, tables: 0 });
    await host.user.allow();
  });
});
