import { CREDENTIAL_PATTERN } from '@offshoot/shared/credential.js';
import { beforeEach, describe, expect, it } from 'vitest';
import { mintInstanceId } from '../domain/ids.js';
import { InstanceCredentials } from './instance-credentials.js';

describe('the credentials of instances', () => {
  const [one, other] = [mintInstanceId(), mintInstanceId()];
  let credentials: InstanceCredentials;
  const ownerOf = (credential: Buffer) => credentials.ownerOf(credential.toString());
  beforeEach(() => {
    credentials = new InstanceCredentials();
  });

  it('belong to one instance each, and are never the same twice', () => {
    const issued = [one, other, one].map((id) => [credentials.of(id).issue(), id] as const);
    expect(new Set(issued.map(([credential]) => credential.toString())).size).toBe(3);
    for (const [credential, id] of issued) {
      expect(credential.toString()).toMatch(CREDENTIAL_PATTERN);
      expect(ownerOf(credential)).toBe(id);
    }
  });

  it('take the place of those before them', () => {
    const credential = credentials.of(one);
    const [first, second] = [credential.issue(), credential.issue()];
    expect([ownerOf(first), credential.isValid(first)]).toEqual([undefined, false]);
    expect([ownerOf(second), credential.isValid(second)]).toEqual([one, true]);
  });

  it('are void when they are revoked, which does no harm twice or before the first', () => {
    const credential = credentials.of(one);
    credential.revoke();
    const issued = credential.issue();
    for (let times = 0; times < 2; times++) {
      credential.revoke();
      expect([ownerOf(issued), credential.isValid(issued)]).toEqual([undefined, false]);
    }
    expect(ownerOf(credential.issue())).toBe(one);
  });

  it('of a VM that ended do not touch those of the next one of the same instance', () => {
    const [before, after] = [credentials.of(one), credentials.of(one)];
    before.issue();
    const issued = after.issue();
    before.revoke();
    expect(ownerOf(issued)).toBe(one);
  });

  it("are nobody else's: what is nearly one, and nothing", () => {
    const issued = credentials.of(one).issue().toString();
    for (const near of ['', issued.slice(1), `${issued} `, issued.toLowerCase() === issued ? '' : issued.toLowerCase()])
      expect(credentials.ownerOf(near)).toBeUndefined();
  });
});
