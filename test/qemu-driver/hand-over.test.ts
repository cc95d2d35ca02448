import { execFile } from 'node:child_process';
import { chmod, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { QemuDriver } from '../../host-agent/src/drivers/qemu/qemu-driver.js';
import type { QemuProcess } from '../../host-agent/src/drivers/qemu/qemu-process.js';
import { REBASE_STEPS, type RebaseStep } from '../../host-agent/src/drivers/qemu/rebase.js';
import type { LaunchSpec, Vm } from '../../host-agent/src/ports/driver.js';
import { Corrupt, Unreachable } from '../../shared/src/errors.js';
import { processesIn } from '../../host-agent/src/os/proc-orphans.js';
import { recordOf, targetIn } from '../bare-guest/capture-files.js';
import { consoleSays, deliverAndResume, ticksGoOn, ticksOf } from '../bare-guest/guest-control.js';
import { openDescriptors } from '../bare-guest/left-behind.js';
import { Lab, missingPrograms } from './lab.js';

const missing = await missingPrograms();
const run = promisify(execFile);

/** Steps that are undone when they fail. */
const UNDONE = REBASE_STEPS.filter((step) => step !== 'hand over');

describe.skipIf(missing !== '')(`QEMU driver: a hand-over cut short${missing && ` (skipped: ${missing})`}`, () => {
  let lab: Lab;
  let driver: QemuDriver;
  let onStep: (step: RebaseStep, successor: QemuProcess | undefined) => Promise<void> | void = () => undefined;
  let spec: LaunchSpec;
  let vm: Vm;
  let count = 0;

  const source = async (): Promise<void> => {
    spec = await lab.spec(`source${String(++count)}`);
    vm = lab.keep(await driver.launch(spec));
    await consoleSays(spec, 'armed\n');
  };
  beforeAll(async () => {
    lab = await Lab.open();
    driver = lab.driver({ onRebaseStep: async (step, successor) => onStep(step, successor) });
    await source();
  });
  afterEach(() => {
    onStep = () => undefined;
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  const successor = async (): Promise<number> =>
    (await processesIn(spec.directory)).find((pid) => pid !== vm.process.pid)!;
  const diskIsLocked = (): Promise<unknown> =>
    expect(run('qemu-io', ['-c', 'read 0 512', spec.disk.path])).rejects.toThrow(/lock/);

  describe('before the successor runs', () => {
    let before: { pid: number; files: string[]; descriptors: number; ticks: number };
    beforeEach(async () => {
      before = {
        pid: vm.process.pid,
        files: await readdir(spec.directory),
        descriptors: await openDescriptors(),
        ticks: await ticksOf(vm),
      };
    });
    afterEach(async () => {
      expect(vm.process.pid).toBe(before.pid);
      expect(await vm.state()).toBe('running');
      expect(await processesIn(spec.directory)).toEqual([before.pid]);
      expect((await readdir(spec.runDirectory)).sort()).toEqual(['channel.sock', 'qmp.sock']);
      expect(await readdir(spec.directory)).toEqual(before.files);
      expect(await openDescriptors()).toBeLessThanOrEqual(before.descriptors);
      await ticksGoOn(vm, Math.max(before.ticks, await ticksOf(vm)));
      await diskIsLocked();
      (await vm.dialGuest()).destroy();
    });

    it.each(UNDONE)('is undone when the step "%s" fails', async (failing) => {
      onStep = (step) => {
        if (step === failing) throw new Error(`no ${step}`);
      };
      await expect(vm.snapshot(targetIn(spec))).rejects.toThrow(`no ${failing}`);
    });

    it.each(UNDONE)('is undone when it is cancelled at "%s"', async (at) => {
      const cancel = new AbortController();
      onStep = (step) => {
        if (step === at) cancel.abort();
      };
      await expect(vm.snapshot(targetIn(spec), {}, cancel.signal)).rejects.toThrow(/abort/i);
    });

    it.each([0, 30, 60, 90])('is undone when it is cancelled after %i ms', async (afterMs) => {
      onStep = (step) => (step === 'continue' ? Promise.reject(new Error('aborted too late')) : undefined);
      await expect(vm.snapshot(targetIn(spec), {}, AbortSignal.timeout(afterMs))).rejects.toThrow(/abort|timeout/i);
    });

    it.each(UNDONE.slice(1))('is undone when the successor dies at "%s"', async (at) => {
      onStep = async (step) => {
        if (step === at) process.kill(await successor(), 'SIGKILL');
      };
      const failure = await vm.snapshot(targetIn(spec)).catch((error: unknown) => error);
      expect(failure instanceof Corrupt || failure instanceof Unreachable, String(failure)).toBe(true);
    });

    it('is undone when what was to be done in the pause fails, which has ended by then', async () => {
      let ended = false;
      const whilePaused = async (): Promise<void> => {
        await stat(spec.directory);
        ended = true;
        throw new Error('no room for the disk');
      };
      await expect(vm.snapshot(targetIn(spec), { whilePaused })).rejects.toThrow('no room for the disk');
      expect(ended).toBe(true);
    });

    it('is undone when the state cannot be written', async () => {
      const nowhere = { ...targetIn(spec), stateFile: join(spec.directory, 'no-folder/state') };
      await expect(vm.snapshot(nowhere)).rejects.toThrow('ENOENT');
    });

    it('is undone when the successor dies at start', async () => {
      const { process: running } = vm;
      const binary = join(lab.root, 'qemu-that-dies');
      await writeFile(
        binary,
        `#!/bin/sh\ncase "$*" in *" -incoming "*) echo no luck >&2; exit 3;; esac\nexec qemu-system-x86_64 "$@"\n`,
      );
      await chmod(binary, 0o755);
      await vm.detach();
      vm = lab.keep((await lab.driver({ binary }).adopt(running, spec))!);
      await expect(vm.snapshot(targetIn(spec))).rejects.toThrow(/QEMU died at start \(exit code 3\): no luck/);
      await vm.detach();
      vm = lab.keep((await driver.adopt(running, spec))!);
    });
  });

  it('succeeds after all that', async () => {
    const ticks = await ticksOf(vm);
    expect((await vm.snapshot(targetIn(spec))).replaced).toBe(true);
    await ticksGoOn(vm, ticks);
    await vm.kill();
  });

  /** As when a daemon is killed at this step: nothing more is done, nothing undone, and its connections are gone. */
  async function killedAt(at: RebaseStep): Promise<void> {
    const reached = new Promise<void>((resolve) => {
      onStep = (step, successor) => {
        if (step !== at) return;
        successor?.qmp.close();
        resolve();
        return new Promise(() => undefined);
      };
    });
    void vm.snapshot(targetIn(spec));
    await reached;
    await vm.detach();
  }

  it.each(REBASE_STEPS)('a daemon killed before "%s" leaves what the next one finishes or undoes', async (at) => {
    await source();
    const old = vm.process;
    await killedAt(at);
    const successorPid = await successor();
    const adopted = lab.keep((await lab.driver().adopt(old, spec))!);
    const replaced = at === 'continue' || at === 'hand over';
    expect(adopted.process.pid).toBe(replaced ? successorPid : old.pid);
    expect(adopted.process.privateMemory).toBe(replaced);
    expect(await processesIn(spec.directory)).toEqual([adopted.process.pid]);
    expect((await readdir(spec.runDirectory)).filter((name) => name.endsWith('.new'))).toEqual([]);
    await adopted.resume();
    await ticksGoOn(adopted, await ticksOf(adopted));
    await diskIsLocked();
    const { capture } = await adopted.snapshot({ ...targetIn(spec), stateFile: join(spec.directory, 'later') });
    const forkSpec = await lab.cloneSpec(`fork${String(count)}`, spec, await recordOf(capture), capture);
    const fork = lab.keep((await lab.driver().restore(forkSpec)).vm);
    await deliverAndResume(fork, 'fork');
    await consoleSays(forkSpec, '1:fork\n');
    await fork.kill();
    await adopted.kill();
    expect(await readdir(spec.runDirectory)).toEqual([]);
  });

  it('does not run the source again when the successor, which may have run, is gone', async () => {
    await source();
    const old = vm.process;
    await killedAt('hand over');
    process.kill(await successor(), 'SIGKILL');
    expect(await lab.driver().adopt(old, spec)).toBeUndefined();
    expect(await processesIn(spec.directory)).toEqual([]);
    expect(await readdir(spec.runDirectory)).toEqual([]);
  });

  it('finds the successor from a record that names the source', async () => {
    await source();
    const old = vm.process;
    await vm.snapshot(targetIn(spec));
    const { process: now } = vm;
    await vm.detach();
    const adopted = lab.keep((await lab.driver().adopt(old, spec))!);
    expect(adopted.process).toEqual(now);
    expect(await adopted.state()).toBe('running');
    await adopted.kill();
  });
});
