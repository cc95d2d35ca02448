import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LinkLab } from './testing/link-lab.js';
import { CREDENTIAL, BOOT_ID, soon, task } from './testing/scripted-guest.js';

describe('the link to a guest', () => {
  let lab: LinkLab;
  beforeEach(async () => {
    lab = await LinkLab.start();
  });
  afterEach(() => lab[Symbol.asyncDispose]());

  it('says hello and hears of mailboxes and of each change', async () => {
    lab.guest.mailboxes = [task()];
    const opened = await lab.open();
    expect(opened.mailboxes()).toBeUndefined();
    expect(await opened.hello(soon())).toEqual({ version: '1.0.0', bootId: BOOT_ID, kernelRelease: '6.1.0' });
    await opened.waitForMailboxes(['task'], soon());
    await lab.until(() => lab.guest.registrations.size === 1);
    const waiting = opened.waitForMailboxes(['task', 'other'], soon());
    for (const call of lab.guest.registrations)
      call.write({ mailboxes: [task(), task({ name: 'other', segmentAddresses: [8192n] })] });
    await waiting;
    expect(opened.mailboxes()?.map(({ name }) => name)).toEqual(['task', 'other']);
  });

  it('names the mailboxes that are armed when those wanted are not', async () => {
    lab.guest.mailboxes = [task(), task({ name: 'spent', segmentAddresses: [8192n], state: 3 })];
    const opened = await lab.open();
    await opened.hello(soon());
    await expect(opened.waitForMailboxes(['nope'], AbortSignal.timeout(50))).rejects.toMatchObject({
      kind: 'Timeout',
      metadata: { wanted: 'nope', armed: 'task' },
    });
  });

  it('hands a whole identity to the guest by call', async () => {
    const opened = await lab.open();
    const identity = { slot: 0, mac: '02:00:00:00:00:02', ipv4: '10.0.0.2', prefixLength: 24, gateway: '10.0.0.1' };
    const inside = {
      hostname: 'fork-1',
      machineId: 'ab'.repeat(16),
      entropy: Buffer.alloc(64, 1),
      hostTimeMs: 7.5,
      credential: CREDENTIAL,
    };
    await opened.reconfigureNetwork({ ...identity, ...inside }, soon());
    expect(lab.guest.identity).toMatchObject({ mac: '02:00:00:00:00:02', ...inside });
    await opened.reconfigureNetwork(identity, soon());
    expect(lab.guest.identity?.hostname).toBeUndefined();
  });

  it('ends quietly when the VMM is gone, and whoever waits hears that', async () => {
    lab.guest.answers = () => false;
    const opened = await lab.open();
    const hello = expect(opened.hello(soon())).rejects.toMatchObject({ kind: 'Unreachable', reason: 'GUEST_GONE' });
    const mailboxes = expect(opened.waitForMailboxes(['x'], soon())).rejects.toMatchObject({ kind: 'Unreachable' });
    await once(lab.guest.server, 'sync');
    lab.alive = false;
    lab.guest.socket?.destroy();
    await Promise.all([hello, mailboxes]);
  });

  it('cannot be opened where nothing answers', async () => {
    lab.alive = false;
    await expect(lab.open()).rejects.toMatchObject({ kind: 'Unreachable', reason: 'GUEST_CHANNEL' });
  });

  it('gives a silent agent up when the signal ends', async () => {
    lab.guest.answers = () => false;
    const opened = await lab.open();
    await expect(opened.hello(AbortSignal.timeout(50))).rejects.toMatchObject({ kind: 'Timeout' });
  });

  it('passes on what the guest refuses, and its pid otherwise', async () => {
    const opened = await lab.open();
    const workload = { env: {}, workingDirectory: '', files: [] };
    await expect(opened.startWorkload({ ...workload, argv: ['refused'] }, soon())).rejects.toMatchObject({
      kind: 'InvalidState',
      message: expect.stringContaining('a workload is running already') as string,
    });
    expect(await opened.startWorkload({ ...workload, argv: ['true'] }, soon())).toBe(77);
    await opened.shutdown(soon());
  });

  it('gives a call up with the signal, and loses only the call', async () => {
    const opened = await lab.open();
    await opened.hello(soon());
    const workload = { argv: ['silent'], env: {}, workingDirectory: '', files: [] };
    await expect(opened.startWorkload(workload, AbortSignal.timeout(50))).rejects.toMatchObject({ kind: 'Aborted' });
    expect(await opened.startWorkload({ ...workload, argv: ['true'] }, soon())).toBe(77);
  });

  it('refuses everything once closed', async () => {
    const opened = await lab.open();
    await opened.hello(soon());
    await opened.close();
    opened.wake();
    await expect(opened.hello(soon())).rejects.toMatchObject({ reason: 'GUEST_LINK_CLOSED' });
  });
});
