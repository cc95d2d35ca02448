import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestHost } from '../harness/test-host.js';

const BEFORE = '/etc/offshoot/hooks/before-snapshot.d';
const AFTER = '/etc/offshoot/hooks/after-fork.d';

/** Where a hook leaves what the command says: that may take longer than the hook has where the guest is emulated. */
const ASKED = '/run/asked';
/** Scripts by path; all are programs but the last. */
const HOOKS = {
  [`${BEFORE}/20-second`]: 'echo "second before: $OFFSHOOT_EVENT"',
  [`${BEFORE}/10-first`]: 'echo "first before: $OFFSHOOT_EVENT"; exit 3',
  [`${AFTER}/20-second`]: 'echo "second after: generation $OFFSHOOT_GENERATION"; touch /run/hooked',
  [`${AFTER}/10-first`]: `setsid offshoot-guest generation >${ASKED} & echo "first after: $(cat /run/offshoot/generation)"; sleep 60`,
  [`${AFTER}/30-data`]: 'echo never',
};
const files = Object.entries(HOOKS).map(([path, script]) => ({
  path,
  mode: path.endsWith('data') ? 0o644 : 0o755,
  content: Buffer.from(`#!/bin/sh\n${script}\n`),
}));
/** Says whether the hooks have run, as long as they have not; then, what the command said that a hook began. */
const WORKLOAD = `n=0; while [ ! -e /run/hooked ]; do n=$((n + 1)); echo "not hooked $n"; done; echo hooked
while [ ! -s ${ASKED} ]; do sleep 0.1; done; echo "asked: $(cat ${ASKED})"`;

describe('hooks in the guest', () => {
  let host: TestHost;
  let source: string;
  let fork: string;
  let workload: string[];
  const hookLines = (text: string): string[] => text.match(/(?:first|second) (?:before|after).*|hook .*/g) ?? [];

  beforeAll(async () => {
    host = await TestHost.start();
    await host.create({
      name: 'source',
      workload: { argv: ['sh', '-c', WORKLOAD], env: {}, workingDirectory: '', files },
    });
    await host.logLine('source', (line) => line.startsWith('not hooked'));
    await host.standby('source');
    source = await host.consoleText('source');
    const { instance } = await host.fork({ source: 'source', name: 'fork' });
    workload = [];
    for await (const line of host.logLines(instance!.id))
      if (workload.push(line) > 0 && line.startsWith('asked: ')) break;
    fork = await host.consoleText('fork');
  });
  afterAll(async () => {
    await host[Symbol.asyncDispose]();
  });

  it('run before a capture in the order of their names, whatever the first comes to, and speak on the console', () => {
    expect(hookLines(source).map((line) => line.trim())).toEqual([
      'first before: before-snapshot',
      `hook ${BEFORE}/10-first: exited with code 3`,
      'second before: before-snapshot',
    ]);
  });

  it('run after a fork, know its generation by variable, file and command, and have five seconds each', () => {
    expect(hookLines(fork).map((line) => line.trim())).toEqual([
      'first after: 1',
      `hook ${AFTER}/10-first: ended after its limit of 5000 ms`,
      'second after: generation 1',
    ]);
    expect(workload.at(-1)).toBe('asked: 1');
  });

  it('have done what they do when the workload goes on', () => {
    // But for the turn of the loop that the freeze cut through.
    expect(workload.filter((line) => line.startsWith('not hooked')).length).toBeLessThanOrEqual(1);
  });
});
