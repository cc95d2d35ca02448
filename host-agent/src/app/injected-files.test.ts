import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { injectedFiles } from './injected-files.js';

const run = promisify(execFile);
const nothing = { env: {}, files: [], tls: undefined };
const textOf = (files: ReturnType<typeof injectedFiles>): string => files[0]?.content.toString() ?? '';

describe('what is laid on the disk of an instance', () => {
  it('is nothing where nothing was asked for', () => {
    expect(injectedFiles(nothing)).toEqual([]);
  });

  it('are the files as they are asked for, before those that are made of the rest', () => {
    const file = { path: '/srv/a', mode: 0o755, uid: 7, gid: 8, content: Buffer.from('a') };
    expect(injectedFiles({ ...nothing, files: [file], env: { A: '1' } }).map(({ path }) => path)).toEqual([
      '/srv/a',
      '/etc/offshoot/env.sh',
    ]);
  });

  it.each(['', 'plain', `it's "quoted" $HOME \`id\` \\ ;`, 'two\nlines\n', `'`, 'ü'])(
    'is a file of the environment that gives a shell %j again',
    async (value) => {
      const [file] = injectedFiles({ ...nothing, env: { FIRST: '1', VALUE: value } });
      expect(file).toMatchObject({ mode: 0o600, uid: 0, gid: 0 });
      const { stdout } = await run('sh', ['-c', `${textOf([file!])}printenv VALUE; printenv FIRST`]);
      expect(stdout).toBe(`${value}\n1\n`);
    },
  );

  it('has the key for root alone, and the certificates for everybody', () => {
    const tls = { certificate: 'C', key: 'K', authorities: 'A' };
    expect(
      injectedFiles({ ...nothing, tls }).map(({ path, mode, content }) => [path, mode, content.toString()]),
    ).toEqual([
      ['/etc/offshoot/tls/cert.pem', 0o644, 'C'],
      ['/etc/offshoot/tls/key.pem', 0o600, 'K'],
      ['/etc/offshoot/tls/ca.pem', 0o644, 'A'],
    ]);
    expect(injectedFiles({ ...nothing, tls: { ...tls, authorities: undefined } })).toHaveLength(2);
  });
});
