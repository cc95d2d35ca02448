import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { readFrameHeader } from '@offshoot/shared/mailbox/frame.js';
import type { Delivery } from '@offshoot/shared/mailbox/segments.js';
import { FramesOfTest } from '../mailbox/frames-of-test.js';
import { ForkIdentities } from './fork-identities.js';
import { RecordedParts } from './recorded-parts.js';

const network = { mac: '02:00:00:00:00:0a', ipv4: '10.1.2.3', prefixLength: 24, gateway: '10.1.2.1' };
const identity = { ...network, hostname: 'fork-1', machineId: 'ab'.repeat(16), hostTimeMs: Date.UTC(2026) };
const MAILBOX = 'offshoot.network';
const CLOCK = 'offshoot.clock';
const ENTROPY = 'offshoot.entropy';
const CREDENTIAL = 'offshoot.credential';

describe('the identity of a fork', () => {
  let frames: FramesOfTest;
  let parts: RecordedParts;
  let hooks: string[];
  let answered: Delivery[];
  let hooksEnd: () => void;
  let identities: ForkIdentities;
  const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
  /** As the host does: each part of the identity into its own mailbox. */
  const deliver = ({
    hostTimeMs,
    entropy,
    credential,
    ...names
  }: Partial<typeof identity> & { entropy?: Buffer; credential?: Buffer }): void => {
    frames.deliver(MAILBOX, json(names));
    if (hostTimeMs !== undefined) frames.deliver(CLOCK, json({ hostTimeMs }));
    if (entropy !== undefined) frames.deliver(ENTROPY, entropy, { transport: 'none' }, 'bytes');
    if (credential !== undefined) frames.deliver(CREDENTIAL, credential, { transport: 'none' }, 'bytes');
  };
  const credentialOf = (text: string): Buffer => Buffer.alloc(43, text);
  const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

  beforeEach(() => {
    frames = new FramesOfTest();
    parts = new RecordedParts();
    [hooks, answered] = [[], []];
    identities = new ForkIdentities(
      {
        identity: parts,
        afterFork: {
          list: () => hooks,
          run: (_, env) => {
            parts.note('hooks', env.OFFSHOOT_GENERATION);
            return new Promise((resolve) => (hooksEnd = resolve));
          },
        },
        quiescence: {
          runningMs: 40,
          identityArrives: () => {
            parts.note('found');
          },
          thaw: () => {
            parts.note('thaw');
          },
        },
        acks: {
          sendInBackground: (_, delivery, stage, detail) => {
            answered.push(delivery as Delivery);
            parts.note(stage, detail ?? '');
          },
        },
        log: () => undefined,
      },
      () => {
        parts.note('told');
      },
    );
  });
  afterEach(() => {
    frames[Symbol.dispose]();
  });

  it('is in force before the workload thaws, and both before it is answered for, all in one turn', () => {
    deliver(identity);
    expect(identities.look()).toBe(true);
    expect(parts.calls).toEqual([
      'found',
      'network 10.1.2.3',
      `clock ${String(identity.hostTimeMs + 40)}`,
      'hostname fork-1',
      'machine-id 32',
      'host-keys removed',
      'generation 1',
      'thaw',
      'applied',
      'told',
    ]);
    expect(identities.appliedCount).toBe(1);
  });

  it.each(['is in force', 'fails'])('leaves nothing of its random bytes in memory when it %s', (outcome) => {
    if (outcome === 'fails') parts.failures.set('generation', new Error('EIO'));
    const add = vi.spyOn(parts.entropy, 'add');
    deliver({ ...identity, entropy: Buffer.alloc(64, 1) });
    identities.look();
    expect(add.mock.calls).toEqual([[Buffer.alloc(64)]]);
    expect(answered).toHaveLength(1);
    for (const { payload } of answered) expect(payload.some((byte) => byte !== 0)).toBe(false);
  });

  it('has its credential before its generation grows, and it stays in no memory but that of its file', () => {
    const credential = credentialOf('secret');
    const set = vi.spyOn(parts.credential, 'set');
    deliver({ ...network, credential });
    const page = frames.page(CREDENTIAL);
    expect(page.includes(credential)).toBe(true);
    identities.look();
    expect(parts.calls).toEqual([
      'found',
      'network 10.1.2.3',
      `credential ${credential.toString()}`,
      'generation 1',
      'thaw',
      'applied',
      'told',
    ]);
    expect(page.includes(credential)).toBe(false);
    expect(set.mock.calls).toEqual([[Buffer.alloc(43)]]);
  });

  it('waits with thaw and answer for the hooks, which know the new generation', async () => {
    hooks = ['/hook'];
    deliver(network);
    identities.look();
    await settled();
    expect(parts.calls).toEqual(['found', 'network 10.1.2.3', 'generation 1', 'hooks 1']);
    expect(readFrameHeader(frames.page(MAILBOX)).state).toBe('consumed');
    expect(identities.look()).toBe(false);
    hooksEnd();
    await settled();
    expect(parts.calls.slice(4)).toEqual(['thaw', 'applied', 'told']);
    expect(readFrameHeader(frames.page(MAILBOX)).state).toBe('armed');
  });

  it('leaves the workload frozen when a step fails, and says which', () => {
    parts.failures.set('clock', new Error('EPERM: clock_settime'));
    deliver(identity);
    identities.look();
    expect(parts.calls).toEqual(['found', 'network 10.1.2.3', 'failed EPERM: clock_settime']);
    expect(identities.appliedCount).toBe(0);
  });

  it.each([
    ['its time is none', () => frames.deliver(CLOCK, json({ hostTimeMs: 'now' }))],
    ['its time is torn', () => (frames.deliver(CLOCK, json({ hostTimeMs: 0 })), (frames.page(CLOCK)[256]! ^= 1))],
    ['its random bytes are too few', () => frames.deliver(ENTROPY, Buffer.alloc(63), { transport: 'none' }, 'bytes')],
    ['its credential is none', () => frames.deliver(CREDENTIAL, Buffer.alloc(43, '='), { transport: 'none' }, 'bytes')],
  ])('is refused whole when %s', (_, deliverPart) => {
    deliver(network);
    deliverPart();
    expect(identities.look()).toBe(true);
    expect(parts.calls).toEqual(['found', expect.stringMatching(/^failed /)]);
    expect(identities.appliedCount).toBe(0);
    for (const name of [MAILBOX, CLOCK, ENTROPY]) expect(readFrameHeader(frames.page(name)).state).toBe('armed');
  });

  it('is none without a network, and nobody is answered', () => {
    frames.deliver(CLOCK, json({ hostTimeMs: identity.hostTimeMs }));
    expect(identities.look()).toBe(true);
    expect(parts.calls).toEqual(['found']);
    expect(identities.appliedCount).toBe(0);
  });

  it('says that it failed when the workload cannot be thawed', () => {
    parts.failures.set('thaw', new Error('EBUSY'));
    deliver(network);
    identities.look();
    expect(parts.calls.at(-1)).toBe('failed EBUSY');
  });

  it('does not stay in memory: the mailboxes are wiped and armed anew', () => {
    const entropy = Buffer.alloc(64, 7);
    deliver({ ...identity, entropy });
    const page = frames.page(ENTROPY);
    expect(page.includes(entropy)).toBe(true);
    identities.look();
    expect(page.includes(entropy)).toBe(false);
    expect(parts.calls).toContain('entropy 64');
    for (const name of [MAILBOX, CLOCK, ENTROPY]) expect(readFrameHeader(frames.page(name)).state).toBe('armed');
  });

  it('that comes by call thaws, too, and counts; its time is as old as its way was long', async () => {
    await identities.apply(identity);
    expect(parts.calls).toEqual([
      'found',
      'network 10.1.2.3',
      `clock ${String(identity.hostTimeMs)}`,
      'hostname fork-1',
      'machine-id 32',
      'host-keys removed',
      'generation 1',
      'thaw',
      'told',
    ]);
  });

  it('that repeats by call what is in force changes nothing but the credential', async () => {
    deliver(identity);
    identities.look();
    parts.calls.length = 0;
    await identities.apply({ ...identity, hostTimeMs: identity.hostTimeMs + 2000 });
    expect(parts.calls).toEqual(['found', 'thaw']);
    // A daemon that took over sends another credential, and knows no other.
    await identities.apply({ ...identity, credential: credentialOf('other') });
    expect(parts.calls.slice(2)).toEqual(['found', `credential ${credentialOf('other').toString()}`, 'thaw']);
    await identities.apply({ ...identity, hostname: 'other' });
    expect(parts.calls).toContain('generation 2');
  });

  it('that is delivered again counts again: the memory may be that of an earlier time', () => {
    for (const generation of [1, 2]) {
      deliver(network);
      identities.look();
      expect(parts.calls).toContain(`generation ${String(generation)}`);
    }
  });

  it('has new host keys made after the answer', async () => {
    parts.hasHostKeys = true;
    deliver(identity);
    identities.look();
    expect(parts.calls).not.toContain('host-keys renewed');
    await settled();
    expect(parts.calls.at(-1)).toBe('host-keys renewed');
  });
});
