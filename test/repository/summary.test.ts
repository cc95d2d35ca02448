import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));

/** What is said of times. */
const ENDING = /\n?slowest files:.*\n/;

const lines = (first: number, last: number): string =>
  Array.from({ length: last - first + 1 }, (_, i) => `line ${String(first + i)}`).join('\n');

describe('the last lines of make test', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'offshoot-summary-'));
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
  });

  /** Runs a suite and prints its summary. */
  async function summaryOf(suite: string): Promise<{ code: number | undefined; said: string }> {
    writeFileSync(join(folder, 'some.test.mjs'), suite);
    const report = join(folder, 'report.json');
    const runner = join(REPOSITORY, 'node_modules/vitest/vitest.mjs');
    const reporter = join(REPOSITORY, 'scripts/report.mjs');
    const run = await execa(
      'node',
      [runner, 'run', '--globals', `--root=${folder}`, `--reporter=${reporter}`, 'some.test.mjs'],
      { env: { OFFSHOOT_REPORT: report }, reject: false },
    );
    const summary = [join(REPOSITORY, 'scripts/summary.mjs'), report, String(run.exitCode)];
    const { exitCode, stdout } = await execa('node', summary, { reject: false });
    return { code: exitCode, said: stdout.replace(ENDING, '\n').trim() };
  }

  it('count, and tell what the skipped ones lack', async () => {
    const suite = `
      it('works', () => undefined);
      it.skip('forks (skipped: KVM (no /dev/kvm))', () => undefined);
      it('parks', ({ skip }) => skip(true, 'skipped: KVM (no /dev/kvm)'));`;
    expect(await summaryOf(suite)).toEqual({
      code: 0,
      said: '- skipped: KVM (no /dev/kvm) (2 tests)\n1 passed, 0 failed, 2 skipped',
    });
  });

  it.each([
    [
      'a test',
      `it('works', () => { throw new Error('no luck\\nat all'); });`,
      'FAILED some.test.mjs: works: no luck\nat all\n0 passed, 1 failed, 0 skipped',
    ],
    [
      'a test that has much to say of it',
      `it('boots', () => { throw new Error('gone:\\x1bc\\x1b[2J\\r\\n' + Array.from({ length: 30 }, (_, i) => 'line ' + i).join('\\n')); });`,
      `FAILED some.test.mjs: boots: gone:\n${lines(0, 10)}\n(7 lines)\n${lines(18, 29)}\n0 passed, 1 failed, 0 skipped`,
    ],
    [
      'what a suite is set up by',
      `describe('a VM', () => { beforeAll(() => { throw new Error('did not boot'); }); it('works', () => undefined); });`,
      '- a VM > works (1 test)\nFAILED some.test.mjs: a VM: did not boot\n0 passed, 1 failed, 1 skipped',
    ],
    [
      'a file',
      `throw new Error('does not load');`,
      'FAILED some.test.mjs: the file: does not load\n0 passed, 1 failed, 0 skipped',
    ],
    [
      'nothing that belongs to a test',
      `it('works', () => { Promise.reject(new Error('nobody heard')); });`,
      'FAILED outside the tests: nobody heard\n1 passed, 1 failed, 0 skipped',
    ],
  ])('name %s that failed, and why', async (_what, suite, said) => {
    expect(await summaryOf(suite)).toEqual({ code: 1, said });
  });

  it('say so when the run left no report', async () => {
    const summary = [join(REPOSITORY, 'scripts/summary.mjs'), join(folder, 'nothing.json'), '137'];
    const { exitCode, stdout, stderr } = await execa('node', summary, { reject: false });
    expect({ exitCode, stdout, stderr }).toEqual({
      exitCode: 1,
      stdout: 'FAILED outside the tests: see above: lint failed, or the run was cut\n0 passed, 1 failed, 0 skipped',
      stderr: 'the test run left no report',
    });
  });
});
