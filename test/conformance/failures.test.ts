import { createHash, randomBytes } from 'node:crypto';
import { appendFile, copyFile, readFile, readdir, rm, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import { processEnded } from '../../host-agent/src/os/process-identity.js';
import { processesIn } from '../../host-agent/src/os/proc-orphans.js';
import type { LaunchSpec, RestoreSpec, Vm } from '../../host-agent/src/ports/driver.js';
import { InvalidState, OffshootError } from '../../shared/src/errors.js';
import { recordOf, targetIn } from '../bare-guest/capture-files.js';
import { ticksGoOn, ticksOf } from '../bare-guest/guest-control.js';
import { NOTHING_LEFT, leftIn, openDescriptors } from '../bare-guest/left-behind.js';
import { forEachDriver, type Base } from './conformance-lab.js';

await forEachDriver('what goes wrong', (lab) => {
  let base: Base;
  beforeAll(async () => {
    base = await lab().base('source');
  });

  /** A VM whose VMM is killed when another one has its memory already. */
  async function goesOnInSuccessor(): Promise<void> {
    const { vm, spec } = await lab().launch('handed-over');
    const old = vm.process;
    const whilePaused = async (): Promise<void> => {
      process.kill(old.pid, 'SIGKILL');
      await processEnded(old);
    };
    expect(await vm.snapshot(targetIn(spec), { whilePaused })).toMatchObject({ replaced: true });
    expect(vm.process.pid).not.toBe(old.pid);
    await ticksGoOn(vm, await ticksOf(vm));
    expect(await Promise.race([vm.exited, nextTurn('runs')])).toBe('runs');
    await vm.kill();
    expect(await vm.exited).toMatchObject({ signal: 'SIGKILL' });
    expect(await leftIn(spec)).toEqual(NOTHING_LEFT);
  }

  /** The error of something that fails; whatever it is, it leaves no process and no socket. */
  async function failureOf(failing: Promise<unknown>, spec: LaunchSpec | RestoreSpec): Promise<OffshootError> {
    const failure = await failing.then(
      () => new Error('it did not fail'),
      (error: unknown) => error,
    );
    expect(failure, String(failure)).toBeInstanceOf(OffshootError);
    expect(await leftIn(spec)).toEqual(NOTHING_LEFT);
    return failure as OffshootError;
  }

  describe('with the hypervisor', () => {
    it('says which binary is missing, and refuses to launch with it', async () => {
      const driver = lab().newDriver('hypervisor-that-is-not-there');
      const status = await driver.probe();
      expect(status).toMatchObject({ available: false, capabilities: { fork: false } });
      expect(status.unavailableReason).toContain('hypervisor-that-is-not-there');
      const spec = await lab().spec('no-binary');
      expect(await failureOf(driver.launch(spec), spec)).toMatchObject({
        kind: 'Unsupported',
        reason: 'DRIVER_UNAVAILABLE',
        message: expect.stringContaining('hypervisor-that-is-not-there') as string,
      });
      await expect(readFile(spec.memoryFile)).rejects.toThrow('ENOENT');
    });

    it('says that a program is another one', async () => {
      for (const program of ['true', 'false']) {
        const { available, unavailableReason } = await lab().newDriver(program).probe();
        expect(available).toBe(false);
        expect(unavailableReason).toContain(program);
      }
    });

    it.each([
      ['exits', 'echo no luck >&2; exit 3', 'exit code 3'],
      ['is killed', 'echo no luck >&2; kill -9 $$', 'signal SIGKILL'],
    ])('quotes the log of one that %s at start', async (_, script, how) => {
      const driver = lab().newDriver(await lab().impostor(`impostor-${how}`, script));
      const launched = await lab().spec('dies');
      const restored = await lab().forkSpec('dies', base);
      for (const failure of [
        await failureOf(driver.launch(launched), launched),
        await failureOf(driver.restore(restored), restored),
      ]) {
        expect(failure).toMatchObject({ kind: 'Unreachable', reason: 'VMM_DIED_AT_START' });
        expect(failure.message).toContain(how);
        expect(failure.message).toContain('no luck');
      }
      await expect(readFile(launched.memoryFile)).rejects.toThrow('ENOENT');
    });

    it('gives up on one that never takes commands when it is cancelled', async () => {
      const driver = lab().newDriver(await lab().impostor('silent', 'exec sleep 1000'));
      await driver.probe();
      const spec = await lab().forkSpec('silent', base);
      const cancel = new AbortController();
      const restored = driver.restore(spec, cancel.signal);
      restored.catch(() => undefined);
      await started(spec);
      cancel.abort(new Error('no longer wanted'));
      await expect(restored).rejects.toThrow('no longer wanted');
      expect(await leftIn(spec)).toEqual(NOTHING_LEFT);
    });
  });

  describe('with what a VM is made from', () => {
    it('says in the words of the hypervisor which disk is missing', async () => {
      const launched = await lab().spec('no-disk');
      await rm(launched.disk.path);
      const failure = await failureOf(lab().driver.launch(launched), launched);
      expect(failure.message).toContain('No such file or directory');
      const restored = await lab().forkSpec('no-disk', base);
      await rm(restored.disk.path);
      expect((await failureOf(lab().driver.restore(restored), restored)).message).toContain(
        'No such file or directory',
      );
    });

    it.each([
      ['driver', 'libkrun', 'driver libkrun'],
      ['driverVersion', '0.1', 'version 0.1'],
      ['machineType', 'pc-q35-2.4', 'machine type pc-q35-2.4'],
      ['cpuModel', 'host (Z80)', 'CPU model host (Z80)'],
      ['accelerator', 'hvf', 'accelerator hvf'],
    ] as const)('refuses a capture with another %s, showing both values', async (key, value, message) => {
      const spec = await lab().forkSpec('other', base);
      const capture = { ...base.capture, [key]: value };
      const failure = await failureOf(lab().driver.restore({ ...spec, capture }), spec);
      expect(failure).toBeInstanceOf(InvalidState);
      expect(failure.reason).toBe('CAPTURE_MISMATCH');
      expect(failure.message).toContain(message);
      expect(failure.message).toContain(base.capture[key]);
      await expect(lab().driver.assertLoadable(capture, spec.stateFile)).rejects.toThrow(message);
    });

    it('refuses device state that was altered', async () => {
      const spec = await lab().forkSpec('altered', base);
      const stateFile = join(spec.directory, 'altered-state');
      await copyFile(base.result.stateFile, stateFile);
      await appendFile(stateFile, 'x');
      expect(await failureOf(lab().driver.restore({ ...spec, stateFile }), spec)).toMatchObject({
        kind: 'Corrupt',
        reason: 'STATE_ALTERED',
      });
      await expect(lab().driver.assertLoadable(base.capture, stateFile)).rejects.toThrow(/SHA-256/);
    });

    it.each([
      ['cut off', (whole: Buffer) => whole.subarray(0, 1000)],
      ['empty', () => Buffer.alloc(0)],
      ['noise', () => randomBytes(20_000)],
    ])('gives the reason of the hypervisor when device state is %s, though as it was recorded', async (_, spoil) => {
      const spec = await lab().forkSpec('spoilt', base);
      const stateFile = join(spec.directory, 'spoilt-state');
      const bytes = spoil(await readFile(base.result.stateFile));
      await writeFile(stateFile, bytes);
      const capture = { ...base.capture, stateSha256: createHash('sha256').update(bytes).digest('hex') };
      const failure = await failureOf(lab().driver.restore({ ...spec, stateFile, capture }), spec);
      expect(failure).toMatchObject({ kind: 'Corrupt', reason: 'STATE_NOT_LOADED' });
      expect(failure.metadata.logTail).not.toBe('');
    });

    it('refuses memory that was touched, cut off or removed', async () => {
      const spec = await lab().forkSpec('altered', base);
      const memoryFile = join(spec.directory, 'memory');
      await copyFile(base.result.memoryFile, memoryFile);
      const stamped = async (): Promise<RestoreSpec> => {
        const { memoryStamp } = await recordOf({ ...base.result, memoryFile });
        return { ...spec, memoryFile, capture: { ...base.capture, memoryStamp } };
      };
      const whole = await stamped();
      await utimes(memoryFile, 1, 1);
      const touched = await failureOf(lab().driver.restore(whole), spec);
      expect(touched).toMatchObject({ kind: 'Corrupt', reason: 'MEMORY_ALTERED' });
      expect(touched.message).toMatch(/mtimeNs is 1000000000, was/);
      await truncate(memoryFile, 4096);
      expect((await failureOf(lab().driver.restore(whole), spec)).message).toMatch(/size is 4096, was/);
      // Also when the record says so.
      expect((await failureOf(lab().driver.restore(await stamped()), spec)).message).toMatch(/4096 bytes for a VM/);
      await rm(memoryFile);
      expect(await failureOf(lab().driver.restore(whole), spec)).toMatchObject({ reason: 'MEMORY_MISSING' });
    });
  });

  describe('when it is cancelled', () => {
    it.each([0, 1, 2, 4, 8, 16])('after %i ms, a launch or restore leaves nothing', async (afterMs) => {
      const { driver } = lab();
      await driver.probe();
      const launchSpec = await lab().spec('cancelled');
      const launched = await driver.launch(launchSpec, AbortSignal.timeout(afterMs)).catch((error: unknown) => error);
      if (launched instanceof Error) {
        expect(launched.message).toMatch(/abort|timeout/i);
        await expect(readFile(launchSpec.memoryFile)).rejects.toThrow('ENOENT');
      } else await (launched as Vm).kill();
      expect(await leftIn(launchSpec)).toEqual(NOTHING_LEFT);
      const forkSpec = await lab().forkSpec('cancelled', base);
      const restored = await driver.restore(forkSpec, AbortSignal.timeout(afterMs)).catch((error: unknown) => error);
      if (restored instanceof Error) expect(restored.message).toMatch(/abort|timeout/i);
      else await (restored as { vm: Vm }).vm.kill();
      expect(await leftIn(forkSpec)).toEqual(NOTHING_LEFT);
    });
  });

  describe('when the VMM is killed', () => {
    it('while it launches or loads, that is an error or the end of the VM', async () => {
      for (let attempt = 0; attempt < 5; attempt++) {
        const launchSpec = await lab().spec('killed');
        const forkSpec = await lab().forkSpec('killed', base);
        for (const [spec, start] of [
          [launchSpec, () => lab().driver.launch(launchSpec)],
          [forkSpec, async () => (await lab().driver.restore(forkSpec)).vm],
        ] as const) {
          const settled = start().catch((error: unknown) => error);
          for (const pid of await started(spec)) killIfThere(pid);
          const outcome = await settled;
          if (outcome instanceof Error) expect(outcome).toMatchObject({ kind: 'Unreachable' });
          else {
            const vm = lab().keep(outcome as Vm);
            expect(await vm.exited).toMatchObject({ signal: 'SIGKILL' });
            await vm.kill();
          }
          expect(await leftIn(spec)).toEqual(NOTHING_LEFT);
        }
      }
    });

    it('while it is paused, the next call says so', async () => {
      const { vm, spec } = await lab().launch('paused');
      await vm.pause();
      process.kill(vm.process.pid, 'SIGKILL');
      await vm.exited;
      const files = await readdir(spec.directory);
      await expect(vm.capture(targetIn(spec))).rejects.toMatchObject({ kind: 'Unreachable', reason: 'VMM_GONE' });
      await expect(vm.snapshot(targetIn(spec))).rejects.toMatchObject({ kind: 'Unreachable' });
      expect(await readdir(spec.directory)).toEqual(files);
      await vm.kill();
      expect(await leftIn(spec)).toEqual(NOTHING_LEFT);
    });

    it.each(['fork', 'booted'] as const)(
      'while it is captured, there is an error and no file of it, unless its successor goes on: %s',
      async (kind) => {
        if (kind === 'booted' && lab().subject.traits.replacesCold) {
          await goesOnInSuccessor();
          return;
        }
        const { vm, spec } = kind === 'fork' ? await lab().fork('captured', base) : await lab().launch('captured');
        await vm.resume();
        const files = await readdir(spec.directory);
        const whilePaused = async (): Promise<void> => {
          process.kill(vm.process.pid, 'SIGKILL');
          await vm.exited;
        };
        await expect(vm.snapshot(targetIn(spec), { whilePaused })).rejects.toMatchObject({ kind: 'Unreachable' });
        expect(await vm.exited).toMatchObject({ signal: 'SIGKILL' });
        expect(await readdir(spec.directory)).toEqual(files);
        await vm.kill();
        expect(await leftIn(spec)).toEqual(NOTHING_LEFT);
      },
    );
  });

  it('leaks no descriptor', async () => {
    const cycle = async (): Promise<void> => {
      const { vm, spec } = await lab().fork('leak', base);
      await (await vm.openMemory())[Symbol.asyncDispose]();
      await vm.capture(targetIn(spec));
      await vm.detach();
      const adopted = await lab().driver.adopt(vm.process, spec);
      await adopted!.kill();
      await vm.exited;
      const broken = await lab().forkSpec('leak', base);
      await rm(broken.disk.path);
      await expect(lab().driver.restore(broken)).rejects.toThrow();
    };
    await cycle();
    const before = await openDescriptors();
    for (let i = 0; i < 3; i++) await cycle();
    expect(await openDescriptors()).toBeLessThanOrEqual(before);
  });
});

/** Waits until a VMM works in a folder, which nobody tells. */
async function started({ directory }: { directory: string }): Promise<number[]> {
  for (;;) {
    const pids = await processesIn(directory);
    if (pids.length > 0) return pids;
    await nextTurn();
  }
}

/** What a VMM starts on its way to being one may end by itself. */
function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    expect(error).toMatchObject({ code: 'ESRCH' });
  }
}
