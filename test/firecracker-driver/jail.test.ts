import { execFile } from 'node:child_process';
import {
  chmod,
  lstat,
  mkdtemp,
  open,
  readFile,
  readdir,
  readlink,
  rename,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { HypervisorDriver, LaunchSpec, RestoreSpec, Vm } from '../../host-agent/src/ports/driver.js';
import { settled, sha256Of, targetIn } from '../bare-guest/capture-files.js';
import { consoleSays, deliverAndResume } from '../bare-guest/guest-control.js';
import { ConformanceLab, type Base } from '../conformance/conformance-lab.js';
import { FIRECRACKER, FIRECRACKER_JAILED, JAIL_USER } from '../conformance/subjects/firecracker.js';

const run = promisify(execFile);
const missing = await FIRECRACKER_JAILED.missing();
const noLoop = await run('losetup', ['--find']).then(
  () => '',
  () => 'loop device',
);

/** What the conformance suite cannot ask of every driver: that the jail holds. */
describe.skipIf(missing !== '')(`Firecracker in a jail${missing && ` (skipped: ${missing})`}`, () => {
  let lab: ConformanceLab;
  let base: Base;
  beforeAll(async () => {
    lab = await ConformanceLab.open(FIRECRACKER_JAILED);
    base = await lab.base('source');
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  const ofProcess = (vm: Vm, path: string): string => join('/proc', String(vm.process.pid), path);
  /** `Seccomp` and its like in proc_pid_status(5), of every thread. */
  async function statusOf(vm: Vm): Promise<Map<string, string>[]> {
    const threads = await readdir(ofProcess(vm, 'task'));
    const texts = threads.map((thread) => readFile(ofProcess(vm, `task/${thread}/status`), 'utf8'));
    return (await Promise.all(texts)).map(
      (text) => new Map(text.split('\n').map((line) => line.split(':\t', 2) as [string, string])),
    );
  }
  const unjailed = (): HypervisorDriver => FIRECRACKER.driver({ scratch: lab.root });
  const namesIn = async ({ directory }: { directory: string }): Promise<string[]> => (await readdir(directory)).sort();

  /** Boots one, and loads another. */
  async function eachWay(test: (vm: Vm, spec: LaunchSpec | RestoreSpec) => Promise<void>): Promise<void> {
    const { vm: booted, spec } = await lab.launch('booted');
    await test(booted, spec);
    await booted.kill();
    const { vm: fork, spec: forkSpec } = await lab.fork('fork', base);
    await deliverAndResume(fork, 'x');
    await test(fork, forkSpec);
    await fork.kill();
  }

  describe('holds a VMM', () => {
    it('that is the process on record, and another user without any rights, with its system calls filtered', async () => {
      await eachWay(async (vm) => {
        const program = await readlink(ofProcess(vm, 'exe'));
        expect(program).toBe(`/${basename(FIRECRACKER.binary)}`);
        const threads = await statusOf(vm);
        expect(threads.length).toBeGreaterThan(1);
        for (const status of threads) {
          expect(status.get('Uid')).toBe(Array(4).fill(JAIL_USER.uid).join('\t'));
          expect(status.get('Gid')).toBe(Array(4).fill(JAIL_USER.gid).join('\t'));
          expect(status.get('Groups')?.trim()).toBe('');
          for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapAmb']) expect(status.get(set)).toBe('0'.repeat(16));
          expect(status.get('NoNewPrivs')).toBe('1');
          expect(status.get('Seccomp')).toBe('2');
        }
      });
    });

    it('that sees its own files and nothing else of the host', async () => {
      await eachWay(async (vm, spec) => {
        const root = ofProcess(vm, 'root');
        const seen = await readdir(root);
        const program = basename(FIRECRACKER.binary);
        const own = ['captures', 'dev', 'disk.raw', 'logs', 'run', program, `${program}.pid`];
        const made = 'stateFile' in spec ? ['device-state', 'memory'] : ['kernel'];
        expect(seen.sort()).toEqual([...own, ...made].sort());
        for (const elsewhere of ['etc', 'proc', 'home', 'tmp', 'old_root', '../etc', `..${lab.root}`])
          await expect(lstat(`${root}/${elsewhere}`)).rejects.toThrow('ENOENT');
        expect((await stat(root)).ino).not.toBe((await stat('/')).ino);
        // Every mount it has is one of these files, or the jail's own file system.
        const mounts = (await readFile(ofProcess(vm, 'mountinfo'), 'utf8')).trim().split('\n');
        expect(mounts.map((line) => line.split(' ')[4]).sort()).toEqual(
          ['/', '/captures', '/disk.raw', '/logs/console.log', '/run', ...made.map((name) => `/${name}`)].sort(),
        );
        for (const line of mounts.filter((each) => !each.includes(' tmpfs ')))
          expect(line).toMatch(/nosuid,nodev,noexec/);
      });
    });

    it('that cannot write what it is loaded from, though the file is its user’s', async () => {
      const { memoryFile } = base.result;
      const before = await sha256Of(memoryFile);
      const { vm } = await lab.fork('reader', base);
      expect((await stat(memoryFile)).uid).toBe(JAIL_USER.uid);
      // Not even root could, through the mount the VMM has.
      for (const name of ['memory', 'device-state']) {
        const path = ofProcess(vm, `root/${name}`);
        await expect(open(path, 'r+')).rejects.toThrow('EROFS');
        await expect(chmod(path, 0o666)).rejects.toThrow('EROFS');
        await (await open(path, 'r')).close();
      }
      await vm.kill();
      expect(await sha256Of(memoryFile)).toBe(before);
    });

    it('that can make no names but in its run folder and in its own memory', async () => {
      const { vm, spec } = await lab.launch('names');
      const owners = ['.', 'logs', 'jail', 'jail/captures', 'run'].map(async (name) => {
        const { uid, mode } = await stat(join(spec.directory, name));
        return [name, uid, mode & 0o022];
      });
      expect(await Promise.all(owners)).toEqual([
        ['.', 0, 0],
        ['logs', 0, 0],
        ['jail', 0, 0],
        ['jail/captures', 0, 0],
        ['run', JAIL_USER.uid, 0],
      ]);
      await vm.kill();
    });

    it('that is reached on its sockets, and says what its guest says', async () => {
      const { vm, spec } = await lab.launch('sockets');
      const channel = await vm.dialGuest();
      await expect(vm.dialGuest()).rejects.toMatchObject({ reason: 'CHANNEL_IN_USE' });
      channel.destroy();
      expect(await readdir(spec.runDirectory)).toEqual(expect.arrayContaining(['api.sock', 'vsock']));
      expect(await readFile(join(spec.logDirectory, 'console.log'), 'utf8')).toContain('armed\n');
      await vm.kill();
    });

    it.skipIf(noLoop !== '')(`whose disk is a device${noLoop && ` (skipped: ${noLoop})`}`, async () => {
      const spec = await lab.spec('device');
      const image = `${spec.disk.path}.image`;
      await rename(spec.disk.path, image);
      const { stdout } = await run('losetup', ['--find', '--show', image]);
      const device = stdout.trim();
      try {
        await symlink(device, spec.disk.path);
        const before = await stat(device);
        const vm = lab.keep(await lab.driver.launch(spec));
        await consoleSays(spec, 'armed\n');
        const seen = await stat(ofProcess(vm, 'root/disk.raw'));
        expect(seen).toMatchObject({ rdev: before.rdev, uid: JAIL_USER.uid, gid: JAIL_USER.gid, mode: 0o60600 });
        // The host's own node stays as it is.
        expect(await stat(device)).toMatchObject({ uid: before.uid, gid: before.gid, mode: before.mode });
        await vm.kill();
      } finally {
        await run('losetup', ['--detach', device]);
      }
    });

    it('whose kernel nobody else may read', async () => {
      const spec = await lab.spec('private');
      const vmlinux = join(spec.directory, 'vmlinux');
      await writeFile(vmlinux, await readFile(spec.kernel.vmlinux), { mode: 0o600 });
      const vm = lab.keep(await lab.driver.launch({ ...spec, kernel: { ...spec.kernel, vmlinux } }));
      await consoleSays(spec, 'armed\n');
      await vm.kill();
    });
  });

  describe('captures', () => {
    it('are as they are without a jail: the daemon’s files, loaded in a jail or outside', async () => {
      const { vm, spec } = await lab.launch('captured');
      const { capture: result } = await vm.snapshot(targetIn(spec));
      for (const path of [result.memoryFile, result.stateFile])
        expect(await stat(path)).toMatchObject({ uid: 0, nlink: 1, mode: 0o100600 });
      expect(await readdir(join(spec.directory, 'jail/captures'))).toEqual([]);
      await vm.kill();
      const taken = await lab.baseOf(spec, result);
      for (const driver of [unjailed(), lab.driver]) {
        const forkSpec = await lab.forkSpec('elsewhere', taken);
        const { vm: fork } = await driver.restore(forkSpec);
        lab.keep(fork);
        await deliverAndResume(fork, 'hello');
        await consoleSays(forkSpec, '1:hello\n');
        await fork.kill();
      }
    });

    it('of a VM outside are loaded in a jail', async () => {
      const spec = await lab.spec('outside');
      const vm = lab.keep(await unjailed().launch(spec));
      await consoleSays(spec, 'armed\n');
      const result = await settled(await vm.capture(targetIn(spec)), spec);
      await vm.kill();
      const { vm: fork, spec: forkSpec } = await lab.fork('inside', await lab.baseOf(spec, result));
      await deliverAndResume(fork, 'hello');
      await consoleSays(forkSpec, '1:hello\n');
      await fork.kill();
    });

    it.each(['jailed', 'unjailed'] as const)('are taken of a %s VM by a daemon that jails otherwise', async (how) => {
      const [before, after] = how === 'jailed' ? [lab.driver, unjailed()] : [unjailed(), lab.newDriver()];
      const spec = await lab.spec('handed-on');
      const vm = lab.keep(await before.launch(spec));
      await consoleSays(spec, 'armed\n');
      await vm.detach();
      const adopted = lab.keep((await after.adopt(vm.process, spec))!);
      const result = await adopted.capture(targetIn(spec));
      expect(await sha256Of(result.stateFile)).toBe(result.stateSha256);
      await adopted.kill();
      expect(await namesIn(spec)).toEqual(['device-state', 'disk.raw', 'logs', 'memory.next', 'run']);
    });
  });

  it('says which jailer is missing, and what to do about it', async () => {
    const status = await lab.newDriver('jailer-that-is-not-there').probe();
    expect(status).toMatchObject({
      available: false,
      unavailableReason: 'no jailer binary: jailer-that-is-not-there is not an executable file',
      remedy: expect.stringContaining('firecracker.jailer') as string,
    });
    expect(status.version).toMatch(/^\d+\.\d+/);
  });

  it('refuses a jailer of another version', async () => {
    const jailer = join(await mkdtemp(join(lab.root, 'other-')), 'jailer');
    await writeFile(jailer, '#!/bin/sh\necho Jailer v0.1.0\n', { mode: 0o755 });
    expect((await lab.newDriver(jailer).probe()).unavailableReason).toMatch(/is version 0\.1\.0, .* is \d/);
  });
});
