import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readFrameHeader } from '@offshoot/shared/mailbox/frame.js';
import { DeliveryAcks } from '../mailbox/delivery-acks.js';
import { FramesOfTest } from '../mailbox/frames-of-test.js';
import { UdpAcks } from '../mailbox/udp-acks.js';
import { firstRehearsal } from './first-rehearsal.js';
import type { ForkIdentity } from './fork-identity.js';
import { RecordedParts } from './recorded-parts.js';
import { Rehearsal } from './rehearsal.js';

const MAILBOX = 'offshoot.rehearsal';
const NOW = Date.UTC(2026);
const identity = {
  mac: '02:00:00:00:00:0a',
  ipv4: '10.1.2.3',
  prefixLength: 24,
  gateway: '10.1.2.1',
  hostname: 'vm',
  machineId: 'ab'.repeat(16),
};
const walkAs = (ipv4: string, hostname: string): string[] => [
  `network ${ipv4}`,
  `clock ${String(NOW)}`,
  'entropy 64',
  `hostname ${hostname}`,
  'machine-id 32',
  'credential rehearsed, 43',
];
const WALK = [...walkAs('10.1.2.2', 'rehearsal'), ...walkAs('10.1.2.3', 'vm')];

describe('a rehearsal', () => {
  let frames: FramesOfTest;
  let parts: RecordedParts;
  let present: ForkIdentity | undefined;
  let answers: string[];
  let rehearsal: Rehearsal;
  const openWith = (acks: ConstructorParameters<typeof Rehearsal>[0]['acks']): Rehearsal =>
    new Rehearsal({
      identity: parts,
      afterFork: {
        list: () => ['/hook'],
        run: () => {
          parts.note('hooks');
          return Promise.resolve();
        },
      },
      present: () => present,
      acks,
    });
  beforeEach(() => {
    [frames, parts, present, answers] = [new FramesOfTest(), new RecordedParts(), identity, []];
    parts.time = NOW;
    rehearsal = openWith({
      send: (mailbox, _, stage, detail) => {
        answers.push(`${mailbox} ${stage} ${detail ?? ''}`.trim());
        return Promise.resolve(true);
      },
    });
  });
  afterEach(() => {
    frames[Symbol.dispose]();
  });

  it('does nothing until it is asked for', () => {
    expect(rehearsal.look()).toBe(false);
    expect(parts.calls).toEqual([]);
  });

  it('walks the way of an identity with the one there is, and leaves generation and host keys alone', () => {
    parts.hasHostKeys = true;
    frames.deliver(MAILBOX, Buffer.from('{}'));
    expect(rehearsal.look()).toBe(true);
    expect(parts.calls).toEqual(WALK);
    expect(parts.generation.current).toBe(0);
    expect(answers).toEqual([`${MAILBOX} applied`]);
    expect(rehearsal.look()).toBe(false);
  });

  it('can be asked for again and again', () => {
    for (const round of [1, 2, 3]) {
      expect(readFrameHeader(frames.page(MAILBOX))).toMatchObject({ state: 'armed', generation: 0 });
      frames.deliver(MAILBOX, Buffer.from('{}'));
      rehearsal.look();
      expect(answers).toHaveLength(round);
    }
  });

  it('says why it failed', () => {
    parts.failures.set('entropy', new Error('EPERM: ioctl'));
    frames.deliver(MAILBOX, Buffer.from('{}'));
    rehearsal.look();
    present = undefined;
    frames.deliver(MAILBOX, Buffer.from('{}'));
    rehearsal.look();
    expect(answers).toEqual([`${MAILBOX} failed EPERM: ioctl`, `${MAILBOX} failed this VM has no address`]);
  });

  it('answers nobody for a torn delivery', () => {
    frames.deliver(MAILBOX, Buffer.from('{}'));
    frames.page(MAILBOX)[256]! ^= 1;
    expect(rehearsal.look()).toBe(true);
    expect([...parts.calls, ...answers]).toEqual([]);
  });

  it('is done by the agent itself when it starts, with an answer that is heard', async () => {
    await using udp = await UdpAcks.open();
    const unused = { send: () => Promise.reject(new Error('not this way')) };
    const acks = new DeliveryAcks({ udp, vsock: unused, channel: unused });
    const heard: boolean[] = [];
    const own = openWith({
      send: async (...ack) => {
        const confirmed = await acks.send(...ack);
        heard.push(confirmed);
        return confirmed;
      },
    });
    let wakes = 0;
    await firstRehearsal(own, () => {
      wakes += 1;
      own.look();
    });
    expect({ wakes, heard, calls: parts.calls }).toEqual({ wakes: 1, heard: [true], calls: WALK });
  });
});
