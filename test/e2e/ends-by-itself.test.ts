import { InstanceState, type Instance } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestHost } from '../harness/test-host.js';

const { INSTANCE_STATE_STOPPED: STOPPED, INSTANCE_STATE_FAILED: FAILED } = InstanceState;

/** Waits for the letter that it gives to the kernel's SysRq (Documentation/admin-guide/sysrq). */
const WORKLOAD =
  'offshoot-guest mailbox arm end >/dev/null; letter=$(offshoot-guest mailbox wait end); offshoot-guest mailbox ack end; echo "$letter" >/proc/sysrq-trigger';

describe('a VM that ends by itself', () => {
  let host: TestHost;
  beforeAll(async () => {
    host = await TestHost.start();
    const workload = { argv: ['sh', '-c', WORKLOAD], env: {}, workingDirectory: '', files: [] };
    await host.create({ name: 'source', memoryBytes: 256n * 2n ** 20n, workload });
    await host.standby('source', 'end');
  });
  afterAll(async () => {
    await host[Symbol.asyncDispose]();
  });

  const forkThatDoes = async (letter: string): Promise<void> => {
    const data = Buffer.from(letter);
    const mailboxes = [{ name: 'end', payload: { $case: 'data' as const, data } }];
    await host.fork({ source: 'source', name: 'vm', mailboxes });
  };
  const ended = async (state: InstanceState): Promise<Instance> => {
    const instance = await host.untilState('vm', state);
    expect(host.machine.traces()).toMatchObject({ folders: 2, processes: 0, taps: 0 });
    await host.delete('vm', false);
    return instance;
  };

  it('because its guest powered off is STOPPED, without a reason', async () => {
    await forkThatDoes('o');
    expect(await ended(STOPPED)).toMatchObject({ stateReason: '', vmmPid: 0 });
  });

  it('because its kernel panicked is FAILED, with the exit status and what the kernel said', async () => {
    await forkThatDoes('c');
    const { stateReason } = await ended(FAILED);
    expect(stateReason).toMatch(/^the guest reset its machine, .*; the hypervisor ended with exit status 0; /s);
    expect(stateReason).toContain('Kernel panic - not syncing: sysrq triggered crash');
  });

  it('because its guest reset the machine is FAILED, and says how to boot it again', async () => {
    await forkThatDoes('b');
    const { stateReason } = await ended(FAILED);
    expect(stateReason).toContain('start the instance to boot it again');
  });

  it('because somebody told its hypervisor to is FAILED, not taken for a guest that powered off', async () => {
    await host.fork({ source: 'source', name: 'vm' });
    process.kill((await host.get('vm')).instance!.vmmPid, 'SIGTERM');
    const { stateReason } = await ended(FAILED);
    expect(stateReason).toContain(
      'the hypervisor was told to end, and not by this daemon; the hypervisor ended with exit status 0',
    );
  });

  it('is told apart so also by a daemon that did not start it', async () => {
    await host.fork({ source: 'source', name: 'vm' });
    const { vmmPid } = (await host.get('vm')).instance!;
    await host.stopDaemon('SIGKILL');
    await host.startDaemon();
    process.kill(vmmPid, 'SIGTERM');
    const { stateReason } = await ended(FAILED);
    expect(stateReason).toContain('the hypervisor was told to end, and not by this daemon');
  });
});
