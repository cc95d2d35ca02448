import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findProgram } from '../../../host-agent/src/os/program-path.js';
import { CommandLine } from '../../e2e/command-line.js';
import { TestHost } from '../../harness/test-host.js';

const worker = fileURLToPath(new URL('../../guest/fork-worker.cjs', import.meta.url));

/** Name of the driver, and of its program. */
const DRIVERS = [
  ['qemu', 'qemu-system-x86_64'],
  ['firecracker', 'firecracker'],
  ['cloud-hypervisor', 'cloud-hypervisor'],
] as const;

/** Doubly emulated, everything takes longer; whoever waits this long waits for nothing. */
const PATIENTLY = ['--ack-timeout', '30', '--network-timeout', '30'];

/** What differs from run to run, whatever the driver. */
const VARIES = new Set(
  'id bootId vmmPid createTime captureTime restoreTime bootTime pauseTime timings latency disk sourceDisk imageId storage'.split(
    ' ',
  ),
);

/** An answer without what cannot be the same twice, and without the driver's name. */
function comparable(answer: unknown, driver: string): unknown {
  return JSON.parse(
    JSON.stringify(answer, (key, value: unknown) => {
      if (VARIES.has(key)) return undefined;
      if (key === 'driver') return value === driver ? 'THE DRIVER' : value;
      return value;
    })
      .replaceAll(/[0-9a-z]{26}/g, 'ID')
      // Of the daemon's state directory.
      .replaceAll(/offshoot-test-\w+/g, 'STATE')
      .replaceAll(/oft-[0-9a-f]+/g, 'oft-STATE'),
  );
}

const answers = new Map<string, readonly unknown[]>();

describe.each(DRIVERS)('a session with the driver %s', (driver, program) => {
  let host: TestHost;
  let cli: CommandLine;
  const session: unknown[] = [];
  let missing = '';
  beforeAll(async () => {
    missing = (await findProgram(program)) === undefined ? `skipped: no ${program} binary` : '';
    if (missing !== '') return;
    host = await TestHost.start();
    cli = new CommandLine(host.daemon.address);
  });
  afterAll(async () => {
    if (missing === '') await host[Symbol.asyncDispose]();
  });

  async function says(...args: string[]): Promise<unknown> {
    const answer = comparable(await cli.json(...args), driver);
    session.push({ args: args.filter((arg) => arg !== driver), answer });
    return answer;
  }
  const running = (name: string, forkedFrom = ''): object => ({
    instance: {
      name,
      state: 'INSTANCE_STATE_RUNNING',
      driver: 'THE DRIVER',
      ...(forkedFrom === '' ? {} : { forkedFrom }),
    },
  });

  it('boots Linux with its agent and a workload', async ({ skip }) => {
    skip(missing !== '', missing);
    const answer = await says(
      ...['run', '--driver', driver, '--name', 'source', '--memory', '512'],
      ...['--file', `${worker}:/srv/worker.cjs`, '--', 'node', '/srv/worker.cjs'],
    );
    expect(answer).toMatchObject(running('source'));
    expect(await cli.untilLine('armed', 'logs', '--follow', 'source')).toBe(130);
  });

  it('pauses and resumes it', async ({ skip }) => {
    skip(missing !== '', missing);
    await says('pause', 'source');
    await says('resume', 'source');
  });

  // Over the channel, which has to be there again after the pause.
  it('parks it when its mailbox is armed', async ({ skip }) => {
    skip(missing !== '', missing);
    expect(await says('standby', 'source', '--wait-mailbox', 'task')).toMatchObject({
      instance: { state: 'INSTANCE_STATE_STANDBY' },
    });
  });

  it('forks it with a payload, which the fork acknowledges as itself', async ({ skip }) => {
    skip(missing !== '', missing);
    const answer = await says('fork', 'source', '--name', 'one', '--mailbox', 'task={"number":1}', ...PATIENTLY);
    expect(answer).toMatchObject(running('one'));
    expect(JSON.stringify(answer)).toContain('\\"task\\":{\\"number\\":1}');
  });

  it('forks the fork, which goes on', async ({ skip }) => {
    skip(missing !== '', missing);
    await host.logLine('one', (line) => line === 'armed');
    const answer = await says(
      'fork',
      'one',
      '--from-running',
      '--name',
      'two',
      '--mailbox',
      'task={"number":2}',
      ...PATIENTLY,
    );
    expect(answer).toMatchObject(running('two'));
    expect(JSON.stringify(answer)).toContain('\\"task\\":{\\"number\\":2}');
    await host.logLine('one', (line) => line.startsWith('count '));
    await host.logLine('two', (line) => line.startsWith('count '));
  });

  it('keeps a snapshot of one that runs, and makes a fork of it', async ({ skip }) => {
    skip(missing !== '', missing);
    await host.logLine('two', (line) => line === 'armed');
    await cli.json('snapshot', 'create', 'two', '--name', 'moment');
    await says('rm', '--force', 'two'); // few at a time: they share one processor
    const answer = await says(
      ...['snapshot', 'fork', 'moment', '--name', 'three', '--mailbox', 'task={"number":3}', ...PATIENTLY],
    );
    expect(JSON.stringify(answer)).toContain('\\"task\\":{\\"number\\":3}');
    await says('rm', '--force', 'three');
  });

  it('restores the source, which goes on where it was', async ({ skip }) => {
    skip(missing !== '', missing);
    expect(await says('restore', 'source')).toMatchObject(running('source'));
    await host.logLine('source', (line) => line.startsWith('count '));
    await says('rm', '--force', 'source');
  });

  it('finds its VM again after the daemon was killed, parks it, and forks it', async ({ skip }) => {
    skip(missing !== '', missing);
    await host.stopDaemon('SIGKILL');
    await host.startDaemon();
    cli = new CommandLine(host.daemon.address);
    await says('standby', 'one', '--wait-mailbox', 'task');
    const answer = await says('fork', 'one', '--name', 'four', '--mailbox', 'task={"number":4}', ...PATIENTLY);
    expect(JSON.stringify(answer)).toContain('\\"task\\":{\\"number\\":4}');
  });

  it('stops the guest in good order, and removes everything', async ({ skip }) => {
    skip(missing !== '', missing);
    expect(await says('stop', 'four', '--grace', '60')).toMatchObject({
      instance: { state: 'INSTANCE_STATE_STOPPED' },
    });
    for (const name of ['one', 'four']) await says('rm', '--force', name);
    await says('snapshot', 'rm', 'moment');
    await says('ps');
    answers.set(driver, session);
  });
});

describe('the sessions', () => {
  const [first] = DRIVERS;
  it.for(DRIVERS.slice(1))('with %s is the one with QEMU, answer by answer', ([driver], { skip }) => {
    const found = answers.get(driver);
    skip(found === undefined, `skipped: no session with ${driver}`);
    expect(found).toEqual(answers.get(first[0]));
  });
});
