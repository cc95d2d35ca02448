import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ForkInstanceResponse } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestHost } from '../harness/test-host.js';
import { makePythonImage } from './python-image.js';

const FORKS = 8;
const LARGE_BYTES = 200 * 1024;

const sdk = (path: string): string => fileURLToPath(new URL(`../../sdk/${path}`, import.meta.url));
const missing = ['python3', 'gcc', 'debugfs'].filter((tool) => spawnSync(tool, ['-V']).error !== undefined);
const note = missing.length === 0 ? '' : ` (skipped: ${missing.join(', ')})`;

/** Of all bytes in order, each time 31 times as much and the byte, modulo 2^32: what the examples answer with. */
const sumOf = (payload: Buffer): number => payload.reduce((sum, byte) => (sum * 31 + byte) % 2 ** 32, 0);
const lengthAndSum = (payload: Buffer): string => `${payload.length} bytes, sum ${sumOf(payload)}`;
const lengthAndDigest = (payload: Buffer): string =>
  `${payload.length} bytes, sha256 ${createHash('sha256').update(payload).digest('hex')}`;

/** The example of each library: its mailbox, and what it acknowledges a payload with. */
const ANSWERS: Readonly<Record<string, (payload: Buffer) => string>> = {
  javascript: lengthAndSum,
  python: lengthAndSum,
  c: lengthAndSum,
  shell: lengthAndDigest,
};
const LANGUAGES = Object.keys(ANSWERS);
/** Mailboxes in the program's own pages take more than the one frame the command arms. */
const OWN_PAGES = LANGUAGES.filter((language) => language !== 'shell');

/** No two of them are alike; the libraries in turn get a large one. */
function payloadFor(language: string, fork: number): Buffer {
  if (OWN_PAGES[fork % OWN_PAGES.length] !== language) return Buffer.from(JSON.stringify({ fork, for: language }));
  return Buffer.from(Array.from({ length: LARGE_BYTES }, (_, i) => (i * 7 + (i >> 8) + fork) & 0xff));
}

/** The examples as they stand, with what each needs, as files of the guest. */
function guestFiles(scratch: string) {
  const program = join(scratch, 'task');
  const flags = ['-std=c99', '-O2', '-s', '-static', `-I${sdk('c')}`];
  execFileSync('gcc', [...flags, sdk('c/examples/task.c'), '-o', program]);
  const files: Readonly<Record<string, string>> = {
    '/srv/node_modules/@offshoot/mailbox/package.json': sdk('javascript/package.json'),
    '/srv/node_modules/@offshoot/mailbox/dist/index.js': sdk('javascript/dist/index.js'),
    '/srv/task.mjs': sdk('javascript/examples/task.mjs'),
    '/srv/offshoot_mailbox.py': sdk('python/offshoot_mailbox.py'),
    '/srv/task.py': sdk('python/examples/task.py'),
    '/srv/task': program,
    '/srv/task.sh': sdk('shell/examples/task.sh'),
  };
  return Object.entries(files).map(([path, source]) => ({ path, mode: 0o755, content: readFileSync(source) }));
}

describe.skipIf(missing.length > 0)(`a VM with programs in four languages, forked ${FORKS} times${note}`, () => {
  let scratch: string;
  let host: TestHost;
  let forks: ForkInstanceResponse[];
  beforeAll(async () => {
    scratch = mkdtempSync(join(tmpdir(), 'offshoot-sdk-'));
    const images = join(scratch, 'images');
    makePythonImage(images, scratch);
    host = await TestHost.start({ settings: { images_dir: images } });
    const programs = 'node /srv/task.mjs & python3 /srv/task.py & /srv/task & sh /srv/task.sh & wait';
    const workload = { argv: ['sh', '-c', programs], env: {}, workingDirectory: '/srv', files: guestFiles(scratch) };
    await host.create({ name: 'source', workload });
    const awaited = new Set(LANGUAGES.map((language) => `${language} is armed`));
    for await (const line of host.logLines('source')) {
      if (!awaited.delete(line)) throw new Error(`a program said: ${line}`);
      if (awaited.size === 0) break;
    }
    await host.standby('source', 'shell');

    forks = [];
    for (let fork = 1; fork <= FORKS; fork++) {
      const mailboxes = LANGUAGES.map((name) => ({
        name,
        payload: { $case: 'data' as const, data: payloadFor(name, fork) },
      }));
      forks.push(await host.fork({ source: 'source', name: `fork-${fork}`, mailboxes }));
      await host.delete(`fork-${fork}`);
    }
  });
  afterAll(async () => {
    await host[Symbol.asyncDispose]();
    rmSync(scratch, { recursive: true });
  });

  it('has four mailboxes, three of them in the programs’ own pages', async () => {
    const { mailboxes } = await host.get('source', true);
    const own = mailboxes.filter(({ name }) => LANGUAGES.includes(name));
    const capacities = own.map(({ name, capacityBytes }) => [name, capacityBytes]);
    expect(Object.fromEntries(capacities)).toEqual({ javascript: 207_360, python: 207_360, c: 207_360, shell: 3840 });
  });

  it.each(LANGUAGES)('acknowledges each payload for %s, with its very length and checksum', (language) => {
    const answers = forks.map(({ acks }) => acks.find(({ mailbox }) => mailbox === language)?.detail);
    const expected = forks.map((_, i) => ANSWERS[language]!(payloadFor(language, i + 1)));
    expect(answers).toEqual(expected);
  });
});
