import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CHECKS, examine } from './doctor.js';
import { PORT_CHECKS } from './port-checks.js';
import { MachineOfTest } from './testing/machine-of-test.js';

const never = new AbortController().signal;

describe('the doctor', () => {
  let machine: MachineOfTest;
  beforeEach(async () => {
    machine = await MachineOfTest.start();
  });
  afterEach(() => machine[Symbol.asyncDispose]());

  it('finds nothing wrong where nothing is, in as many checks as there are', async () => {
    const found = await machine.examine();
    expect([...found.values()].filter(({ outcome }) => outcome !== 'pass')).toEqual([]);
    expect([...found.keys()]).toEqual(CHECKS.map(({ name }) => name));
  });

  it('does not look at what is not configured', async () => {
    machine.zfs = machine.helper = undefined;
    const names = [...(await machine.examine()).keys()];
    expect(names).toEqual(
      CHECKS.map(({ name }) => name).filter((name) => !['zfs', 'privileged-helper'].includes(name)),
    );
  });

  it('fails a check that cannot be made, and goes on', async () => {
    machine.remove('proc/cpuinfo');
    const found = await machine.examine();
    expect(found.get('cpu-virtualization')).toMatchObject({
      outcome: 'fail',
      detail: expect.stringMatching(/ENOENT/) as string,
    });
    expect(found.size).toBe(CHECKS.length);
  });

  it('asks for no rights to a network that needs none, and warns of those that keep it from being better', async () => {
    machine.remove('bin/nft');
    machine.network = { mode: 'user', modeReason: '', bridge: '', subnet: '', ackBindAddress: '10.0.0.1' };
    const asConfigured = await machine.examine();
    expect(asConfigured.get('network-rights')).toMatchObject({ outcome: 'pass' });
    machine.network = { ...machine.network, modeReason: 'nft is not installed' };
    expect((await machine.examine()).get('network-rights')).toMatchObject({ outcome: 'warn' });
  });

  it('lets a helper have the rights that the daemon has not, as long as it answers', async () => {
    machine.write('proc/self/status', 'CapEff:\t0000000000080000\n');
    machine.remove('bin/nft');
    const able = { version: '1', capabilities: ['network'] };
    machine.helper = { ...machine.helper!, probe: () => Promise.resolve(able) };
    const found = await machine.examine();
    expect(found.get('network-rights')).toMatchObject({
      outcome: 'pass',
      detail: '/dev/net/tun, and the privileged helper for the rest',
    });
    machine.helper = { ...machine.helper, probe: () => Promise.reject(new Error('sudo says no')) };
    expect((await machine.examine()).get('network-rights')).toMatchObject({
      outcome: 'fail',
      detail: expect.stringMatching(/^sudo says no: the daemon cannot take the network down/) as string,
      remedy: expect.stringContaining('network_subnet') as string,
    });
  });

  it('reaches an API that is served by TCP', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const subject = { ...machine.subject(), listening: () => `tcp://127.0.0.1:${String(port)}` };
    const outcomes = async (): Promise<string[]> => {
      const found = [];
      for await (const { outcome } of examine(subject, never, PORT_CHECKS)) found.push(outcome);
      return found;
    };
    expect(await outcomes()).toEqual(['pass']);
    server.close();
    await once(server, 'close');
    expect(await outcomes()).toEqual(['fail']);
  });

  it('ends when its caller goes away', async () => {
    const caller = new AbortController();
    const results = examine(machine.subject(), caller.signal);
    await results.next();
    caller.abort(new Error('gone'));
    await expect(results.next()).rejects.toThrow('gone');
  });
});
