import {
  CreateInstanceRequest,
  DeleteInstanceRequest,
} from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { InvalidInput } from '@offshoot/shared/errors.js';
import { describe, expect, it } from 'vitest';
import { requestIdentity } from './request-identity.js';

const METHOD = '/offshoot.v1.InstanceService/CreateInstance';
const file = (content: string) => ({ path: '/srv/a', mode: 0o644, content: Buffer.from(content) });
const create = (change: Parameters<typeof CreateInstanceRequest.fromPartial>[0] = {}) =>
  // Over the wire and back, as a server sees it.
  CreateInstanceRequest.decode(
    CreateInstanceRequest.encode(
      CreateInstanceRequest.fromPartial({
        requestId: 'id',
        name: 'a',
        memoryBytes: 2n ** 30n,
        labels: { one: '1', two: '2' },
        workload: { argv: ['sh'], files: [file('echo')] },
        ...change,
      }),
    ).finish(),
  );
const of = (request: unknown, method = METHOD) => requestIdentity(method, request);

describe('a request’s identity', () => {
  it('is none without an id', () => {
    expect(of(create({ requestId: '' }))).toBeUndefined();
    expect(of({ source: 'a message without the field' })).toBeUndefined();
  });

  it('is the same for the same request, whatever the order of a map’s entries', () => {
    const first = of(create());
    expect(first).toMatchObject({
      id: 'id',
      method: METHOD,
      fingerprint: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
    });
    expect(of(create({ labels: { two: '2', one: '1' } }))).toEqual(first);
  });

  it('has a fingerprint that everything but the id counts for', () => {
    const { fingerprint } = of(create())!;
    expect(of(create({ requestId: 'other' }))!.fingerprint).toBe(fingerprint);
    for (const change of [
      { name: 'b' },
      { memoryBytes: 2n ** 31n },
      { labels: { one: '1', two: '3' } },
      { workload: { argv: ['sh'], files: [file('exit')] } },
    ])
      expect(of(create(change))!.fingerprint).not.toBe(fingerprint);
  });

  it.each(['a'.repeat(129), 'two\nlines', 'naïve'])('is refused with an id like %j', (requestId) => {
    const request = DeleteInstanceRequest.fromPartial({ instance: 'a', requestId });
    expect(() => of(request)).toThrow(InvalidInput);
    expect(() => of(request)).toThrow(/^request_id: must be at most 128 printable ASCII characters, got "/);
  });

  it('is taken from an id of up to 128 printable ASCII characters', () => {
    for (const requestId of ['~', ' '.repeat(128), 'f81d4fae-7dec-11d0-a765-00a0c91e6bf6'])
      expect(of(create({ requestId }))!.id).toBe(requestId);
  });
});
