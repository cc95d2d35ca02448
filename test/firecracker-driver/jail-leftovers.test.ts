import { mkdtemp, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { ProcOrphans } from '../../host-agent/src/os/proc-orphans.js';
import { findProgram } from '../../host-agent/src/os/program-path.js';
import type { LaunchSpec, RestoreSpec } from '../../host-agent/src/ports/driver.js';
import { NOTHING_LEFT, leftIn } from '../bare-guest/left-behind.js';
import { ConformanceLab, type Base } from '../conformance/conformance-lab.js';
import { FIRECRACKER_JAILED } from '../conformance/subjects/firecracker.js';

const missing = await FIRECRACKER_JAILED.missing();
const hostMounts = (): Promise<string> => readFile('/proc/self/mountinfo', 'utf8');
const namesIn = async (directory: string): Promise<string[]> => (await readdir(directory)).sort();

describe.skipIf(missing !== '')(`A jail leaves nothing${missing && ` (skipped: ${missing})`}`, () => {
  let lab: ConformanceLab;
  let base: Base;
  let mountsBefore: string;
  beforeAll(async () => {
    mountsBefore = await hostMounts();
    lab = await ConformanceLab.open(FIRECRACKER_JAILED);
    base = await lab.base('source');
  });
  afterEach(() => {
    vi.unstubAllEnvs();
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  /** Neither process, socket, folder nor mount. */
  async function nothingLeft(spec: { directory: string; runDirectory: string }): Promise<void> {
    expect(await leftIn(spec)).toEqual(NOTHING_LEFT);
    expect(await namesIn(spec.directory)).toEqual(['disk.raw', 'logs', 'run']);
    expect(await hostMounts()).toBe(mountsBefore);
  }

  it('on the host while the VMM lives but one folder, and nothing once it is killed', async () => {
    for (const { vm, spec } of [await lab.launch('booted'), await lab.fork('fork', base)]) {
      expect(await namesIn(spec.directory)).toEqual(['disk.raw', 'jail', 'logs', 'run']);
      expect(await namesIn(join(spec.directory, 'jail'))).toEqual(['captures', 'mounts', 'root']);
      expect(await readdir(join(spec.directory, 'jail/root'))).toEqual([]);
      expect(await hostMounts()).toBe(mountsBefore);
      await vm.kill();
      await nothingLeft(spec);
    }
  });

  it('of a VMM that was killed while no daemon ran', async () => {
    const { vm, spec } = await lab.fork('unseen', base);
    await vm.detach();
    process.kill(vm.process.pid, 'SIGKILL');
    await vm.exited;
    expect(await lab.newDriver().adopt(vm.process, spec)).toBeUndefined();
    await nothingLeft(spec);
  });

  it('of one that no record names, for the next to start in its folder', async () => {
    const { vm, spec } = await lab.fork('orphan', base);
    await vm.detach();
    await new ProcOrphans().endProcessesOf([spec.directory]);
    expect(await leftIn(spec)).toMatchObject({ processes: [] });
    await vm.exited;
    const { vm: next } = await lab.driver.restore(spec);
    await lab.keep(next).kill();
    await nothingLeft(spec);
  });

  /** A program in the place of one of those by which a jail is made, first on the PATH. */
  async function inThePlaceOf(program: string, script: string): Promise<void> {
    const folder = await mkdtemp(join(lab.root, 'shims-'));
    await writeFile(join(folder, program), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    vi.stubEnv('PATH', `${folder}:${process.env.PATH ?? ''}`);
  }

  it.each(['unshare', 'sh', 'mount', 'mkdir'])('when it is killed at %s', async (program) => {
    await inThePlaceOf(program, 'kill -9 0');
    for (const way of ['launch', 'restore'] as const) {
      const spec = way === 'launch' ? await lab.spec('killed') : await lab.forkSpec('killed', base);
      const driver = lab.newDriver();
      const failing = way === 'launch' ? driver.launch(spec as LaunchSpec) : driver.restore(spec as RestoreSpec);
      await expect(failing).rejects.toMatchObject({ reason: 'VMM_DIED_AT_START', metadata: { signal: 'SIGKILL' } });
      await nothingLeft(spec);
    }
  });

  it.each([
    ['mount', 'echo "mount: no such right" >&2; exit 32', /exit code 32\): mount: no such right/],
    ['mkdir', 'echo "mkdir: no room" >&2; exit 1', /exit code 1\): mkdir: no room/],
  ])('when %s fails, whose words are told', async (program, script, says) => {
    await inThePlaceOf(program, script);
    const spec = await lab.spec('failing');
    await expect(lab.newDriver().launch(spec)).rejects.toThrow(says);
    await nothingLeft(spec);
  });

  it('when the jailer fails, whose words are told', async () => {
    const real = await findProgram(FIRECRACKER_JAILED.binary);
    const jailer = await lab.impostor('refusing', `exec '${real!}' --no-such-option "$@"`);
    const spec = await lab.spec('refused');
    const failing = lab.newDriver(jailer).launch(spec);
    await expect(failing).rejects.toMatchObject({ reason: 'VMM_DIED_AT_START' });
    await expect(failing).rejects.toThrow(/no-such-option/);
    await nothingLeft(spec);
  });

  it('when a file cannot be given to its user', async () => {
    const spec = await lab.spec('denied');
    // Root can read it, nobody can give it away.
    const kernel = { ...spec.kernel, vmlinux: '/proc/sys/kernel/cad_pid' };
    await expect(lab.driver.launch({ ...spec, kernel })).rejects.toMatchObject({ reason: 'JAIL_FILE_DENIED' });
    await nothingLeft(spec);
  });
});
