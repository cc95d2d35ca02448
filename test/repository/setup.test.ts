import { execFile } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const script = fileURLToPath(new URL('../../scripts/setup.sh', import.meta.url));

interface Outcome {
  readonly code: number;
  readonly output: string;
}

/** Programs the script may find on a machine of ours; everything else is not there, sudo and apt-get among it. */
const TOOLS = [
  'bash',
  'dirname',
  'uname',
  'id',
  'sed',
  'awk',
  'cat',
  'cut',
  'sha256sum',
  'env',
  'node',
  'dpkg-query',
  'apt-cache',
];

describe('make setup', () => {
  let machine: string;
  beforeEach(() => {
    machine = mkdtempSync(join(tmpdir(), 'offshoot-setup-'));
    mkdirSync(join(machine, 'bin'));
    for (const tool of TOOLS) {
      const found = (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, tool));
      const path = found.find((candidate) => existsSync(candidate));
      if (path !== undefined) symlinkSync(path, join(machine, 'bin', tool));
    }
    osRelease('ID=debian');
  });
  afterEach(() => {
    rmSync(machine, { recursive: true });
  });

  const osRelease = (content: string): void => {
    writeFileSync(join(machine, 'os-release'), `${content}\n`);
  };
  /** Puts a program of ours in the place of one of the machine. */
  const fake = (tool: string, body: string): void => {
    const path = join(machine, 'bin', tool);
    rmSync(path, { force: true });
    writeFileSync(path, `#!/bin/sh\n${body}\n`);
    chmodSync(path, 0o755);
  };
  const setup = (): Promise<Outcome> =>
    new Promise((resolve) => {
      const env = { PATH: join(machine, 'bin'), OFFSHOOT_OS_RELEASE: join(machine, 'os-release') };
      execFile('/bin/bash', [script], { env }, (error, stdout, stderr) => {
        resolve({ code: error === null ? 0 : 1, output: stdout + stderr });
      });
    });

  it('stops on a distribution it does not know, saying what to do', async () => {
    osRelease('ID=fedora');
    const { code, output } = await setup();
    expect(code).toBe(1);
    expect(output).toContain("knows Debian and Ubuntu, this is 'fedora'");
    expect(output).toContain('scripts/setup.sh');
  });

  it('stops on another processor', async () => {
    fake('uname', 'case $1 in -s) echo Linux;; -m) echo aarch64;; esac');
    expect((await setup()).output).toContain('Linux on x86_64, this is Linux on aarch64');
  });

  it('stops on a Node before 20, before it installs anything', async () => {
    fake('node', 'echo v18.19.0');
    const { code, output } = await setup();
    expect(code).toBe(1);
    expect(output.trim()).toBe(
      'setup: needs Node 20 or later, this is v18.19.0: install a newer one from nodejs.org, then run this again',
    );
  });

  it('stops without root and sudo, naming the command that needs them', async () => {
    fake('id', 'echo 1000');
    fake('dpkg-query', 'exit 1');
    fake('apt-cache', 'echo "  Candidate: 1.0"');
    const { code, output } = await setup();
    expect(code).toBe(1);
    expect(output).toMatch(/needs root to run 'apt-get update.*', and sudo is not installed/);
  });

  it('uses sudo when it is not root', async () => {
    fake('id', 'echo 1000');
    fake('dpkg-query', 'exit 1');
    fake('apt-cache', 'echo "  Candidate: 1.0"');
    fake('sudo', 'echo "sudo: $*"; exit 7');
    expect((await setup()).output).toContain('sudo: apt-get update');
  });

  it('has nothing to do on a machine that is set up', async () => {
    const { code, output } = await setup();
    expect(output).toContain('system packages are there');
    expect(output).toContain('Node packages are there');
    expect(code).toBe(0);
  });
});
