import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Aborted, Capacity, NotFound, Timeout, Unreachable, Unsupported } from '@offshoot/shared/errors.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FakeHost } from '../grpc/testing/fake-host.js';
import { ServedHost } from '../grpc/testing/serve.js';
import { TIMEOUT_MS, isBuilt, lacksBuild, runOffshoot, type Ran } from './testing/run-offshoot.js';

let served: ServedHost;
let folder: string;
beforeAll(async () => {
  served = await ServedHost.start();
  folder = await mkdtemp(join(tmpdir(), 'offshoot-cli-'));
});
afterAll(async () => {
  await served[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

const offshoot = (args: readonly string[], { host = served.server.address } = {}): Promise<Ran> =>
  runOffshoot(args, host);

describe.skipIf(!isBuilt)(
  `the command line tells failures by exit code and one line${lacksBuild}`,
  { timeout: TIMEOUT_MS },
  () => {
    it.each([
      [2, ['frok'], "offshoot: unknown command 'frok' (Did you mean fork?)"],
      [2, ['fork'], "offshoot: missing required argument 'source'"],
      [2, ['--host', 'ftp://x', 'ps'], 'offshoot: --host: must be unix:///PATH or tcp://HOST:PORT'],
      [2, ['run', '--memory', 'lots'], 'offshoot: option'],
      [2, ['run', '--disk-size', '10G'], "offshoot: option '--disk-size <size>' argument '10G' is invalid."],
      [2, ['run', '--disk-size', '1TiB'], 'offshoot: disk_bytes: must be a multiple of 1 MiB up to 512 GiB'],
      [2, ['fork', 'a', '--mailbox', 'nopayload'], 'offshoot: It must have the form NAME=JSON or NAME=@FILE.'],
      [2, ['fork', 'a', '--mailbox-token', 'x=y'], 'offshoot: --mailbox-token: there is no --mailbox x='],
      [2, ['fork', 'a', '--mailbox', 'task=1', '--ack-timeout', '-1'], 'offshoot: mailboxes[0].ack_timeout: must be'],
      [2, ['run', '--request-id', 'ä'], 'offshoot: request_id: must be at most 128 printable ASCII characters'],
      [2, ['fork', 'a', '--request-id', 'ä'], 'offshoot: request_id: must be'],
      [2, ['fork', 'a', '--count', '2', '--request-id', 'ä'], 'offshoot: request_id: must be'],
      [2, ['logs', 'a', '--follow', '--json'], '{'],
      [2, ['run', '--disk-file', '/:/x'], 'offshoot: --disk-file: / is not a file'],
      [2, ['run', '--disk-env', 'OFFSHOOT_X=1'], 'offshoot: env: names that begin with OFFSHOOT_ are Offshoot'],
      [2, ['run', '--env', 'OFFSHOOT_X=1', '--', 'a'], 'offshoot: workload.env: names that begin with OFFSHOOT_ are'],
      [2, ['run', '--tls-cert', '/etc/hosts'], 'offshoot: --tls-cert: and --tls-key must be given together'],
      [
        2,
        ['run', '--tls-cert', '/none', '--tls-key', '/none'],
        'offshoot: --tls-cert: cannot read /none: no such file',
      ],
      [2, ['run', '--file', '/:/x'], 'offshoot: --file: / is not a file'],
      [2, ['run', '--file', '/does/not/exist:/x'], 'offshoot: --file: cannot read /does/not/exist: no such file'],
      [
        3,
        ['--host', 'unix:///nowhere.sock', 'ps'],
        'offshoot: cannot reach the daemon at unix:///nowhere.sock: there is no',
      ],
      [4, ['inspect', 'nobody'], 'offshoot: there is no instance nobody'],
    ])('%d for %j', async (code, args, line) => {
      const ran = await offshoot(args);
      expect(ran.stderr.slice(0, line.length)).toBe(line);
      expect(ran).toMatchObject({ code, stdout: '' });
    });

    it.each([
      [1, new Unreachable('QEMU died at start', { reason: 'VMM_DIED' })],
      [4, new NotFound('m', { reason: 'R' })],
      [7, new Capacity('m', { reason: 'R' })],
      [8, new Timeout('m', { reason: 'R' })],
      [9, new Unsupported('m', { reason: 'R' })],
      [10, new Aborted('m', { reason: 'R' })],
    ])('%d for what the daemon throws: %s', async (code, error) => {
      const fake = new FakeHost();
      fake.fork = () => Promise.reject(error);
      await using failing = await ServedHost.start(fake);
      const ran = await offshoot(['fork', 'a'], { host: failing.server.address });
      expect(ran).toEqual({ code, stdout: '', stderr: `offshoot: ${error.message}` });
    });

    it('5 for a name that is taken, 6 for the wrong state', async () => {
      await offshoot(['run', '--name', 'taken']);
      expect((await offshoot(['run', '--name', 'taken'])).code).toBe(5);
      expect(await offshoot(['fork', 'taken'])).toMatchObject({ code: 6 });
      await offshoot(['rm', '--force', 'taken']);
    });

    it('lists every field of a request that has several mistakes', async () => {
      const { stderr } = await offshoot(['run', '--name', 'A', '--cpus', '99', '--memory', '1']);
      expect(stderr.split('\n')).toEqual([
        'offshoot: the request has 3 mistakes',
        expect.stringMatching(/^ {2}name: must be 1 to 63 /),
        expect.stringMatching(/^ {2}vcpus: must be 1 to 16, got 99/),
        expect.stringMatching(/^ {2}memory_bytes: must be a multiple of 2 MiB/),
      ]);
    });

    it('as a JSON document on stderr with --json', async () => {
      const bad = await offshoot(['fork', '--json', 'a', '--mailbox', 'offshoot.x=1']);
      expect(bad).toMatchObject({ code: 2, stdout: '' });
      expect(JSON.parse(bad.stderr)).toEqual({
        error: {
          code: 3,
          status: 'INVALID_ARGUMENT',
          message: expect.stringContaining('reserved') as string,
          reason: 'MAILBOX_NAME_RESERVED',
          metadata: {},
          violations: [{ field: 'mailboxes[0].name', description: expect.stringContaining('reserved') as string }],
        },
      });
      const missing = await offshoot(['image', '--json']);
      expect(JSON.parse(missing.stderr)).toMatchObject({ error: { reason: 'USAGE' } });
    });

    it('2 for files over 1 MiB together, before anything is asked of the daemon', async () => {
      const big = join(folder, 'big');
      await writeFile(big, Buffer.alloc(2 ** 20 + 1));
      const { code, stderr } = await offshoot(['run', '--file', `${big}:/big`], { host: 'unix:///nowhere.sock' });
      expect({ code, stderr }).toEqual({
        code: 2,
        stderr: `offshoot: --file: files may be 1048576 bytes (1 MiB) together; with ${big} (1048577 bytes) they are 1048577`,
      });
    });
  },
);
