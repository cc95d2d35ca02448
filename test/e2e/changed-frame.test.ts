import { FRAME_LAYOUT as F, FRAME_STATE } from '@offshoot/shared/mailbox/frame-layout.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { failureOf } from '../harness/call-failure.js';
import { CutShortHost } from '../harness/cut-short-host.js';
import { ParkedFrame } from '../harness/parked-frame.js';
import type { TestHost } from '../harness/test-host.js';

const mailboxes = ['task', 'plain'].map((name) => ({
  name,
  payload: { $case: 'json' as const, json: '{"number":7}' },
}));

const armedAgain = (page: Buffer): unknown =>
  page.writeBigUInt64LE(~page.readBigUInt64LE(F.nonce.offset) & ((1n << 64n) - 1n), F.nonce.offset);

describe('a frame that is another one in the memory a fork is given than where its mailbox was found', () => {
  let cut: CutShortHost;
  let host: TestHost;
  beforeAll(async () => {
    cut = await CutShortHost.start();
    host = cut.host;
    // Its mailbox "task" is the agent's and registered, "plain" its own and found by the search that the list asks for.
    await host.boot('source', 'hostile-frames.cjs');
    await host.standby('source', 'task');
    await host.get('source', true);
  });
  afterAll(async () => {
    await cut[Symbol.asyncDispose]();
  });

  const fork = () => host.fork({ source: 'source', mailboxes });

  it.each<[string, string, string, (page: Buffer) => unknown]>([
    ['task', 'armed again', 'nonce', armedAgain],
    ['task', 'consumed', 'state', (page) => page.writeUInt32LE(FRAME_STATE.consumed, F.state.offset)],
    ['plain', 'armed again', 'nonce', armedAgain],
    ['plain', 'renamed', 'name', (page) => page.write('plaid', F.name.offset)],
    ['plain', 'given another token', 'tokenSha256', (page) => page.write('#', F.token.offset)],
    ['plain', 'made part of a larger mailbox', 'segmentCount', (page) => page.writeUInt16LE(2, F.segmentCount.offset)],
    ['plain', 'wiped', 'magic', (page) => page.fill(0)],
    ['offshoot.network', 'armed again', 'nonce', armedAgain],
  ])(
    'fails the fork before its first step when that of %s was %s, and leaves nothing of it',
    async (name, _what, difference, change) => {
      const frame = await ParkedFrame.of(host, 'source', name);
      const before = await host.traces();
      using _changed = frame.change(change);
      const steps = await cut.stepsOf(async () => {
        expect(await failureOf(fork())).toMatchObject({
          status: 'DATA_LOSS',
          details: { reason: 'MAILBOX_FRAME_CHANGED', metadata: { mailbox: name, segment: '0', difference } },
        });
      });
      // Loaded, and the daemon has its connection to the guest; neither given anything nor resumed.
      expect(steps.at(-1)).toBe('fork-memory: link');
      expect(await host.traces()).toEqual(before);
      expect(cut.leftovers()).toEqual([]);
    },
  );

  it('is none once it is the one that was found, and a fork then has both payloads as if nothing had been', async () => {
    const { instance, acks } = await fork();
    expect(acks.map(({ mailbox, stage, detail }) => [mailbox, stage, detail])).toEqual([
      ['task', 'applied', '7'],
      ['plain', 'applied', '7'],
    ]);
    await host.delete(instance!.id);
  });
});
