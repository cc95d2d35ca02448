import { describe, expect, it } from 'vitest';
import { idOf, parseLocalRequest } from './local-protocol.js';

const attach = { op: 'attach', name: 'own', pid: 7, addresses: ['7f0000001000', '7f0000003000'] };
const line = 'offshoot-ack v=1 mailbox=own generation=1 nonce=00000000000000ff stage=applied';

describe('a request on the local socket', () => {
  it.each([
    [{ op: 'identity' }, { op: 'identity' }],
    [
      { op: 'arm', name: 'a' },
      { op: 'arm', name: 'a', token: undefined, capacityBytes: undefined },
    ],
    [
      { op: 'arm', name: 'a', token: 't', capacityBytes: 0.5 },
      { op: 'arm', name: 'a', token: 't', capacityBytes: 0.5 },
    ],
    [
      { op: 'wait', name: 'a' },
      { op: 'wait', name: 'a', timeoutMs: undefined },
    ],
    [
      { op: 'wait', name: 'a', timeoutMs: 0 },
      { op: 'wait', name: 'a', timeoutMs: 0 },
    ],
    [
      { op: 'watch', name: 'a', timeoutMs: 86_400_000 },
      { op: 'watch', name: 'a', timeoutMs: 86_400_000 },
    ],
    [
      { op: 'ack', name: 'a' },
      { op: 'ack', name: 'a', stage: 'applied', detail: '' },
    ],
    [
      { op: 'ack', name: 'a', stage: 'failed', detail: 'x'.repeat(1024) },
      { op: 'ack', name: 'a', stage: 'failed', detail: 'x'.repeat(1024) },
    ],
    [
      { op: 'dispose', name: 'a' },
      { op: 'dispose', name: 'a' },
    ],
    [
      { op: 'detach', name: 'a' },
      { op: 'detach', name: 'a' },
    ],
    [attach, { ...attach, addresses: [0x7f0000001000n, 0x7f0000003000n] }],
    [
      { op: 'send-ack', line },
      { op: 'send-ack', ack: { mailbox: 'own', generation: 1, nonce: 255n, stage: 'applied', detail: '' } },
    ],
  ])('is taken when it is %j, with or without an id', (request, parsed) => {
    expect(parseLocalRequest(request)).toEqual(parsed);
    expect(parseLocalRequest({ ...request, id: 1 })).toEqual(parsed);
  });

  it.each<[string, unknown]>([
    ['request', 'arm'],
    ['request', null],
    ['request', Object.assign([], { op: 'identity' })],
    ['request', undefined],
    ['request', Object.assign(() => undefined, { op: 'identity' })],
    ['op', {}],
    ['op', { op: 'toString' }],
    ['op', { op: ['identity'] }],
    ['token', { op: 'dispose', name: 'a', token: 't' }],
    ['k'.repeat(64), { op: 'identity', ['k'.repeat(100)]: 1 }],
    ['name', { op: 'dispose' }],
    ['name', { op: 'dispose', name: 1 }],
    ['token', { op: 'arm', name: 'a', token: 1 }],
    ['token', { op: 'arm', name: 'a', token: 't'.repeat(1025) }],
    ['token', { op: 'arm', name: 'a', token: ['t'] }],
    ['capacityBytes', { op: 'arm', name: 'a', capacityBytes: '1' }],
    ['timeoutMs', { op: 'wait', name: 'a', timeoutMs: -1 }],
    ['timeoutMs', { op: 'wait', name: 'a', timeoutMs: 1.5 }],
    ['timeoutMs', { op: 'wait', name: 'a', timeoutMs: '1' }],
    ['timeoutMs', { op: 'watch', name: 'a', timeoutMs: 86_400_001 }],
    ['stage', { op: 'ack', name: 'a', stage: 'done' }],
    ['detail', { op: 'ack', name: 'a', detail: 'x'.repeat(1025) }],
    ['pid', { ...attach, pid: '7' }],
    ['pid', { ...attach, pid: 7.5 }],
    ['pid', { ...attach, pid: 0 }],
    ['pid', { ...attach, pid: 4_194_305 }],
    ['addresses', { ...attach, addresses: '1000' }],
    ['addresses', { ...attach, addresses: [] }],
    ['addresses', { ...attach, addresses: Array.from({ length: 65 }, (_, i) => ((i + 1) * 4096).toString(16)) }],
    ['addresses', { ...attach, addresses: ['1000', '1000'] }],
    ['addresses[1]', { ...attach, addresses: ['1000', '2001'] }],
    ['addresses[1]', { ...attach, addresses: ['1000', '0'] }],
    ['addresses[0]', { ...attach, addresses: [1000] }],
    ['addresses[0]', { ...attach, addresses: ['0x1000'] }],
    ['addresses[0]', { ...attach, addresses: ['1000\n'] }],
    ['addresses[0]', { ...attach, addresses: ['A000'] }],
    ['addresses[0]', { ...attach, addresses: ['00000000000001000'] }],
    ['line', { op: 'send-ack' }],
    ['line', { op: 'send-ack', line: 1 }],
    ['line', { op: 'send-ack', line: `${line}\n` }],
  ])('is refused for its %s when it is %j', (field, request) => {
    expect(() => parseLocalRequest(request)).toThrow(
      expect.objectContaining({ kind: 'InvalidInput', violations: [expect.objectContaining({ field })] }),
    );
  });

  it('says in which way a line is none', () => {
    const request = { op: 'send-ack', line: `${line} v=1` };
    expect(() => parseLocalRequest(request)).toThrow('repeated-key');
  });
});

describe('the id of a request', () => {
  it.each([0, -1, Number.MAX_SAFE_INTEGER, '', 'x'.repeat(64)])('is given back as %j', (id) => {
    expect(idOf({ id })).toBe(id);
  });

  it.each<[unknown]>([
    [{ id: 'x'.repeat(65) }],
    [{ id: 1.5 }],
    [{ id: 2 ** 53 }],
    [{ id: null }],
    [{ id: [1] }],
    [{ id: { length: 1 } }],
    [{}],
    [null],
    [undefined],
    ['id'],
    [5],
  ])('is null where there is none that could be: %j', (request) => {
    expect(idOf(request)).toBeNull();
  });
});
