import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LinkLab } from './testing/link-lab.js';
import { CREDENTIAL, soon } from './testing/scripted-guest.js';

describe("the output of a guest's workload, and its quiet", () => {
  let lab: LinkLab;
  beforeEach(async () => {
    lab = await LinkLab.start();
  });
  afterEach(() => lab[Symbol.asyncDispose]());

  it('hands on workload output from the offset it was given and resumes behind what it has', async () => {
    const opened = await lab.open(100);
    await opened.hello(soon());
    await lab.until(() => lab.guest.calls.includes('output from 100'));
    for (const call of lab.guest.outputs) call.write({ offset: 100n, data: Buffer.from('hello') });
    await lab.until(() => lab.output.length === 1);
    opened.wake();
    await lab.until(() => lab.mailboxChanges.length >= 4);
    expect([lab.output, opened.workloadLogOffset]).toEqual([[[100, 'hello']], 105]);
    expect(lab.guest.calls).toContain('output from 105');
  });

  it('makes a guest quiet, and waits until all that its workload said is here', async () => {
    const opened = await lab.open();
    await opened.hello(soon());
    await lab.until(() => lab.guest.calls.includes('output from 0'));
    lab.guest.outputEnd = 5n;
    const asked = once(lab.guest.server, 'quiesce');
    const before = performance.now();
    let quiet = false;
    const quiesced = opened.quiesce({ freezeWorkload: true, timeoutMs: 10_000 }, soon()).then((answer) => {
      quiet = true;
      return answer;
    });
    await asked;
    expect([quiet, lab.guest.calls.at(-1)]).toEqual([false, 'quiesce true 10000']);
    for (const call of lab.guest.outputs) call.write({ offset: 0n, data: Buffer.from('hello') });
    const { stopBefore } = await quiesced;
    expect(stopBefore).toBeGreaterThanOrEqual(before + 9000);
    expect(stopBefore).toBeLessThanOrEqual(performance.now() + 9000);
  });

  it('waits no longer for output than a capture would still be good, whatever the guest claims', async () => {
    const opened = await lab.open();
    await opened.hello(soon());
    lab.guest.outputEnd = 2n ** 64n - 1n;
    await expect(opened.quiesce({ freezeWorkload: false, timeoutMs: 1000 }, soon())).rejects.toMatchObject({
      reason: 'WORKLOAD_OUTPUT_LATE',
    });
  });

  it.each([0, 999, 60_001, 1000.5, NaN])('refuses a quiesce of %d ms before it asks the guest', async (timeoutMs) => {
    const opened = await lab.open();
    await expect(opened.quiesce({ freezeWorkload: true, timeoutMs }, soon())).rejects.toMatchObject({
      kind: 'InvalidInput',
    });
    expect(lab.guest.calls.some((call) => call.startsWith('quiesce'))).toBe(false);
  });

  it('tells the time with a thaw, and gives the guest its credential', async () => {
    const opened = await lab.open();
    const before = Date.now();
    await opened.thaw(CREDENTIAL, soon());
    expect(lab.guest.calls).toContain('thaw');
    expect(lab.guest.credential).toBe(CREDENTIAL.toString());
    expect(lab.guest.thawedAt).toBeGreaterThanOrEqual(before);
    expect(lab.guest.thawedAt).toBeLessThanOrEqual(Date.now());
  });
});
