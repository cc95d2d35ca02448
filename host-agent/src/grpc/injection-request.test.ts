import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateKeyPairSync } from 'node:crypto';
import { CreateInstanceRequest } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseInjection } from './injection-request.js';
import { refusal } from './testing/refusal.js';
import { collecting } from './violations.js';

type Request = Parameters<typeof CreateInstanceRequest.fromPartial>[0];
const parse = (partial: Request) =>
  collecting((violations) => parseInjection(CreateInstanceRequest.fromPartial(partial), violations));
const refused = (partial: Request) => refusal(() => parse(partial));

describe('the environment of an instance', () => {
  it('is taken as it is', () => {
    const env = { A: '1', _b2: "two\nlines 'quoted'", EMPTY: '' };
    expect(parse({ env }).env).toEqual(env);
  });

  it.each([
    ['a name with a blank', { 'A B': '1' }, 'env', 'INVALID_FIELD', /got "A B"/],
    ['a name that begins with a digit', { '1A': '1' }, 'env', 'INVALID_FIELD', /not beginning with a digit/],
    ['an empty name', { '': '1' }, 'env', 'INVALID_FIELD', /got ""/],
    [
      'a reserved name',
      { OFFSHOOT_NAME: 'secret' },
      'env',
      'VARIABLE_RESERVED',
      /begin with OFFSHOOT_ are Offshoot's own/,
    ],
    ['a reserved name in small letters', { offshoot_name: 'secret' }, 'env', 'VARIABLE_RESERVED', /OFFSHOOT_/],
    ['a NUL', { A: 'secret\0' }, 'env["A"]', 'INVALID_FIELD', /NUL/],
    ['more than 128 KiB', { A: 'secret'.repeat(22_000) }, 'env', 'INVALID_FIELD', /131072 bytes together, got 132001/],
    [
      '257 variables',
      Object.fromEntries(Array.from({ length: 257 }, (_, i) => [`V${String(i)}`, ''])),
      'env',
      'INVALID_FIELD',
      /256 variables, got 257/,
    ],
  ])('is refused with %s, and no value is repeated', (_, env, field, reason, message) => {
    const found = refused({ env });
    expect(found).toMatchObject({ fields: [field], reason });
    expect(found?.text).toMatch(message);
    expect(found?.text).not.toContain('secret');
  });
});

describe('a file for the disk', () => {
  const MIB = 2 ** 20;
  const content = Buffer.from('secret');

  it("is root's alone unless it says otherwise", () => {
    expect(parse({ files: [{ path: '/srv/a', content }] }).files).toEqual([
      { path: '/srv/a', mode: 0o600, uid: 0, gid: 0, content },
    ]);
    const own = { path: '/srv/a', mode: 0o755, uid: 1, gid: 4_294_967_294, content };
    expect(parse({ files: [own] }).files).toEqual([own]);
  });

  it.each([
    ['a relative path', { path: 'srv/a' }, 'path', 'PATH_MALFORMED', /absolute/],
    ['a path that climbs', { path: '/srv/../etc/shadow' }, 'path', 'PATH_MALFORMED', /\.\./],
    ['no name', { path: '/' }, 'path', 'PATH_MALFORMED', /got "\/"/],
    ['an empty path', { path: '' }, 'path', 'PATH_MALFORMED', /got ""/],
    ['a line break in its path', { path: '/srv/a\nrm b' }, 'path', 'PATH_MALFORMED', /control characters/],
    ['a name of 256 bytes', { path: `/${'n'.repeat(256)}` }, 'path', 'PATH_MALFORMED', /255/],
    ['a path in /run', { path: '/run/a' }, 'path', 'PATH_RESERVED', /elsewhere than in \/run, which is mounted over/],
    ['a path that is /proc', { path: '/proc' }, 'path', 'PATH_RESERVED', /\/proc/],
    ["a path in the agent's folder", { path: '/opt/offshoot/agent.cjs' }, 'path', 'PATH_RESERVED', /agent's own/],
    ['the path of the environment', { path: '/etc/offshoot/env.sh' }, 'path', 'PATH_RESERVED', /what env makes/],
    ['the path of the key', { path: '/etc/offshoot/tls/key.pem' }, 'path', 'PATH_RESERVED', /what tls makes/],
    ['a set-user-id bit', { mode: 0o4755 }, 'mode', 'INVALID_FIELD', /at most 0777, got 04755/],
    ['nobody as its owner', { uid: 4_294_967_295 }, 'uid', 'INVALID_FIELD', /4294967294/],
    ['nobody as its group', { gid: 4_294_967_295 }, 'gid', 'INVALID_FIELD', /4294967294/],
    [
      'more than 1 MiB',
      { content: Buffer.alloc(MIB + 1) },
      'content',
      'DISK_FILES_TOO_LARGE',
      /1048576 bytes, got 1048577/,
    ],
  ])('is refused with %s', (_, change, field, reason, message) => {
    const found = refused({
      files: [
        { path: '/ok', content },
        { path: '/srv/a', content, ...change },
      ],
    });
    expect(found).toMatchObject({ fields: [`files[1].${field}`], reason });
    expect(found?.text).toMatch(message);
    expect(found?.text).not.toContain('secret');
  });

  it('may be in a folder whose name begins as a closed one does', () => {
    expect(
      parse({ files: [{ path: '/running/a' }, { path: '/etc/offshoot/hooks/after-fork.d/10-x' }] }).files,
    ).toHaveLength(2);
  });

  it('is one of at most 256, of 2 MiB together, each of another path', () => {
    const files = (count: number, bytes: number) =>
      Array.from({ length: count }, (_, i) => ({ path: `/srv/${String(i)}`, content: Buffer.alloc(bytes) }));
    expect(parse({ files: files(256, 8192) }).files).toHaveLength(256);
    expect(refused({ files: files(257, 1) })).toMatchObject({ fields: ['files'] });
    expect(refused({ files: files(3, MIB) })).toMatchObject({ fields: ['files'], reason: 'DISK_FILES_TOO_LARGE' });
    expect(refused({ files: [...files(1, 1), ...files(1, 1)] })).toMatchObject({ fields: ['files[1].path'] });
  });
});

describe('TLS material', () => {
  let folder: string;
  let certificate: string;
  let privateKey: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'tls-'));
    const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
    const kind = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
    execFileSync('openssl', ['req', ...kind, '-subj', '/CN=guest', '-keyout', key, '-out', cert], { stdio: 'ignore' });
    [privateKey, certificate] = [readFileSync(key, 'utf8'), readFileSync(cert, 'utf8')];
  });
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });

  it('is taken as it is, a chain and authorities too', () => {
    const chain = certificate + certificate;
    expect(parse({ tls: { certificate: chain, privateKey, authorities: certificate } }).tls).toEqual({
      certificate: chain,
      key: privateKey,
      authorities: certificate,
    });
    expect(parse({ tls: { certificate, privateKey } }).tls?.authorities).toBeUndefined();
    expect(parse({}).tls).toBeUndefined();
  });

  it.each<[string, () => object, string, RegExp]>([
    ['no certificate', () => ({ certificate: '' }), 'tls.certificate', /at least one/],
    ['a key for a certificate', () => ({ certificate: privateKey }), 'tls.certificate', /at least one/],
    [
      'a broken certificate',
      () => ({ certificate: '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----' }),
      'tls.certificate',
      /no certificate/,
    ],
    ['no key', () => ({ privateKey: '' }), 'tls.private_key', /unencrypted private key/],
    ['authorities that are none', () => ({ authorities: 'trust me' }), 'tls.authorities', /at least one/],
    ['far too much', () => ({ authorities: certificate.repeat(600) }), 'tls.authorities', /262144 bytes/],
    [
      "another's key",
      () => ({
        privateKey: generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
          .privateKey.export({ type: 'pkcs8', format: 'pem' })
          .toString(),
      }),
      'tls.private_key',
      /not the key of the certificate/,
    ],
    [
      'an encrypted key',
      () => ({
        privateKey: generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
          .privateKey.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' })
          .toString(),
      }),
      'tls.private_key',
      /unencrypted/,
    ],
  ])('is refused with %s', (_, change, field, message) => {
    const found = refused({ tls: { certificate, privateKey, ...change() } });
    expect(found).toMatchObject({ fields: [field], reason: 'TLS_MALFORMED' });
    expect(found?.text).toMatch(message);
    expect(found?.text).not.toContain('PRIVATE');
  });
});
