import { describe, expect, it } from 'vitest';
import { parseHello, parseMailboxes, parseOutputOffset } from './guest-answers.js';

const mailbox = (changes: object = {}) => ({
  name: 'task',
  tokenFingerprint: '0123456789abcdef',
  nonce: 255n,
  segmentAddresses: [4096n],
  state: 1,
  attached: true,
  ...changes,
});

describe('what a guest answers', () => {
  it('is taken when every field is in its bounds', () => {
    expect(parseMailboxes([mailbox()])).toEqual([
      {
        name: 'task',
        tokenFingerprint: '0123456789abcdef',
        nonce: '00000000000000ff',
        segmentAddresses: [4096],
        state: 'armed',
        attached: true,
      },
    ]);
  });

  it.each([
    ['a name with a line break', { name: 'a\nb' }],
    ['a name of 65 characters', { name: 'x'.repeat(65) }],
    ['an empty fingerprint', { tokenFingerprint: '' }],
    ['no segment', { segmentAddresses: [] }],
    ['65 segments', { segmentAddresses: Array.from({ length: 65 }, (_, i) => BigInt((i + 1) * 4096)) }],
    ['an address inside a page', { segmentAddresses: [4097n] }],
    ['address zero', { segmentAddresses: [0n] }],
    ['an address beyond safe integers', { segmentAddresses: [1n << 60n] }],
    ['two segments in one place', { segmentAddresses: [4096n, 4096n] }],
    ['an unknown state', { state: 9 }],
  ])('is refused with %s', (_, changes) => {
    expect(() => parseMailboxes([mailbox(changes)])).toThrow(expect.objectContaining({ kind: 'Corrupt' }));
  });

  it('is refused with more than 256 mailboxes or two of one name', () => {
    const many = Array.from({ length: 257 }, (_, i) => mailbox({ name: `m${String(i)}` }));
    expect(() => parseMailboxes(many)).toThrow('257 mailboxes');
    expect(parseMailboxes(many.slice(1))).toHaveLength(256);
    expect(() => parseMailboxes([mailbox(), mailbox()])).toThrow('one name');
  });

  it('is refused when the agent introduces itself with anything unprintable or long', () => {
    const hello = {
      agentVersion: '1.2.3',
      bootId: '14a126f3-0c33-47d1-8a26-569f9738cd9b',
      kernelRelease: '6.1.0-56-cloud-amd64',
      mailboxes: [],
    };
    expect(parseHello(hello).version).toBe('1.2.3');
    expect(() => parseHello({ ...hello, agentVersion: 'x'.repeat(65) })).toThrow('agent_version');
    expect(() => parseHello({ ...hello, bootId: '' })).toThrow('boot_id');
    expect(() => parseHello({ ...hello, kernelRelease: '\u001b[2J' })).toThrow('kernel_release');
  });

  it.each(['x', ' ', '\n'])('is refused with %j before or behind what would be right', (more) => {
    const hello = {
      agentVersion: '1.2.3',
      bootId: '14a126f3-0c33-47d1-8a26-569f9738cd9b',
      kernelRelease: '6.1.0-56-cloud-amd64',
      mailboxes: [],
    };
    for (const around of [(right: string) => more + right, (right: string) => right + more]) {
      expect(() => parseHello({ ...hello, bootId: around(hello.bootId) })).toThrow('boot_id');
      const kernelRelease = around('6'.repeat(128));
      expect(() => parseHello({ ...hello, kernelRelease })).toThrow('kernel_release');
      const tokenFingerprint = around('0123456789abcdef');
      expect(() => parseMailboxes([mailbox({ tokenFingerprint })])).toThrow('token fingerprint');
    }
  });

  it('may skip output but not repeat it or count beyond safe integers', () => {
    expect(parseOutputOffset(10n, 5, 7)).toBe(10);
    expect(() => parseOutputOffset(6n, 5, 7)).toThrow('goes back');
    expect(() => parseOutputOffset((1n << 53n) - 2n, 5, 7)).toThrow('out of range');
  });
});
