import { access, readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import type { GoOnStep } from '../../host-agent/src/domain/operations.js';
import type { CaptureResult, RestoreSpec, Vm } from '../../host-agent/src/ports/driver.js';
import { settled, sha256Of, targetIn } from '../bare-guest/capture-files.js';
import { consoleSays, deliver, deliverAndResume, ticksGoOn, ticksIn, ticksOf } from '../bare-guest/guest-control.js';
import { forEachDriver, type Base } from './conformance-lab.js';

/** Where the guest has nothing. */
const SCRATCH = 0x80_0000;

await forEachDriver('captures', (lab) => {
  let base: Base;
  beforeAll(async () => {
    base = await lab().base('source');
  });

  it('of a VM that goes on leave it running, and give forks of that instant', async () => {
    const { vm, spec } = await lab().launch('goes-on');
    const { process: before } = vm;
    const { capture, replaced } = await vm.snapshot(targetIn(spec), {
      whilePaused: async () => {
        expect(await vm.state()).toBe('paused');
      },
    });
    expect(replaced).toBe(lab().subject.traits.replacesCold);
    expect(vm.process.pid === before.pid).toBe(!replaced);
    expect(vm.process.privateMemory).toBe(replaced || lab().subject.traits.coldMemory !== 'in its file');
    expect(await vm.state()).toBe('running');
    const sha256 = await sha256Of(capture.memoryFile);
    const atPause = await ticksIn(capture.memoryFile);
    const from = await lab().baseOf(spec, capture);
    for (const name of ['first', 'second']) {
      const { vm: fork, spec: forkSpec } = await lab().fork(name, from);
      expect(await ticksOf(fork)).toBe(atPause);
      await deliverAndResume(fork, name);
      await consoleSays(forkSpec, `1:${name}\n`);
      await fork.kill();
    }
    expect(await vm.state()).toBe('running');
    expect(await sha256Of(capture.memoryFile)).toBe(sha256);
    await vm.kill();
  });

  it('have to the byte what is in the memory, whatever was written to it and when', async () => {
    const { vm, spec } = await lab().fork('exact', base);
    // What the host writes, as payloads of many pages, the guest may never touch.
    const write = async (what: string, first: number): Promise<void> => {
      await using memory = await vm.openMemory();
      for (let page = first; page < 3000; page += 3)
        await memory.write(SCRATCH + page * 8192, Buffer.from(`${what} ${String(page)}`));
    };
    await write('before it ran', 0);
    await vm.resume();
    await ticksGoOn(vm, await ticksIn(base.result.memoryFile));
    await exactly(vm, spec, await vm.capture(files(spec, 'first')));
    await write('after a capture', 1);
    await vm.resume();
    await ticksGoOn(vm, await ticksOf(vm));
    await vm.pause();
    const { capture } = await vm.snapshot(files(spec, 'second'));
    expect(await vm.state()).toBe('paused');
    await exactly(vm, spec, capture);
    await write('after a snapshot', 2);
    await vm.resume();
    await ticksGoOn(vm, await ticksOf(vm));
    await exactly(vm, spec, await vm.capture(files(spec, 'third')));
    await vm.kill();
  });

  it('miss nothing after one that failed or was cancelled, which leaves the VM as it was and no file', async () => {
    const { vm, spec } = await lab().fork('again', base);
    await deliverAndResume(vm, 'once');
    await consoleSays(spec, '1:once\n');
    const before = await readdir(spec.directory);
    const goes = async (failing: Promise<unknown>, why: RegExp): Promise<void> => {
      await expect(failing).rejects.toThrow(why);
      expect(await vm.state()).toBe('running');
      expect(await readdir(spec.directory)).toEqual(before);
    };
    await goes(vm.capture(targetIn(spec), {}, AbortSignal.abort()), /abort/i);
    const cancel = new AbortController();
    const cancelIn = (step: GoOnStep) => ({
      onReached: (reached: GoOnStep) => {
        if (reached === step) cancel.abort();
      },
    });
    await goes(vm.snapshot(targetIn(spec), cancelIn('paused'), cancel.signal), /abort/i);
    const whilePaused = () => Promise.reject(new Error('no room for the disk'));
    await goes(vm.capture(targetIn(spec), { whilePaused }), /no room for the disk/);
    await goes(vm.snapshot(targetIn(spec), { whilePaused }), /no room for the disk/);
    for (const afterMs of [0, 1, 2, 4, 8])
      await vm.snapshot(targetIn(spec), {}, AbortSignal.timeout(afterMs)).catch(() => undefined);
    await expect(vm.capture({ ...targetIn(spec), stateFile: join(spec.directory, 'no-folder/state') })).rejects.toThrow(
      /No such file|ENOENT/,
    );
    expect(await vm.state()).toBe('running');
    const result = await vm.capture(targetIn(spec));
    await exactly(vm, spec, result);
    await vm.kill();
  });

  it('that fail leave a paused VM paused', async () => {
    const { vm, spec } = await lab().fork('paused', base);
    const whilePaused = () => Promise.reject(new Error('no room for the disk'));
    await expect(vm.snapshot(targetIn(spec), { whilePaused })).rejects.toThrow('no room');
    expect(await vm.state()).toBe('paused');
    await expect(vm.capture(targetIn(spec), { whilePaused })).rejects.toThrow('no room');
    expect(await vm.state()).toBe('paused');
    await vm.kill();
  });

  it('tell their steps in order, and how long the VM stood still', async () => {
    const { vm, spec } = await lab().fork('steps', base);
    await vm.resume();
    const captureSteps: string[] = [];
    const captured = await vm.capture(targetIn(spec), { onReached: (step) => captureSteps.push(step) });
    expect(captureSteps).toEqual(['base copied', 'paused', 'saved', 'written']);
    expect(await vm.state()).toBe('paused');
    await vm.resume();
    const steps: string[] = [];
    const { capture } = await vm.snapshot(targetIn(spec), { onReached: (step) => steps.push(step) });
    expect(steps).toEqual(['base copied', 'paused', 'saved', 'went on', 'written']);
    for (const { pauseMs } of [captured, capture]) expect(pauseMs).toBeGreaterThan(0);
    console.log(
      `${lab().subject.name}: stood still ${captured.pauseMs.toFixed(1)} ms for a capture, ${capture.pauseMs.toFixed(1)} ms for a snapshot`,
    );
    await vm.kill();
  });

  it('say what they are bound to, and name files that are for their owner alone', async () => {
    const { result, spec } = base;
    const { version, accelerator } = await lab().driver.probe();
    expect(result).toMatchObject({ driverVersion: version, accelerator, stateFile: targetIn(spec).stateFile });
    const inItsFile = lab().subject.traits.coldMemory === 'in its file';
    expect(result.memoryFile).toBe(inItsFile ? spec.memoryFile : targetIn(spec).memoryFile);
    expect(result.regions).toEqual([{ gpa: 0, size: spec.memoryBytes, fileOffset: 0 }]);
    expect(await sha256Of(result.stateFile)).toBe(result.stateSha256);
    expect((await stat(result.memoryFile)).size).toBe(spec.memoryBytes);
    expect((await stat(result.memoryFile)).mode & 0o777).toBe(0o600);
    await lab().driver.assertLoadable(base.capture, result.stateFile);
  });

  it('take the place of the VM they were made of', async () => {
    const { vm, spec } = await lab().launch('parked');
    const parked = await settled(await vm.capture(targetIn(spec)), spec);
    await vm.kill();
    const { capture } = await lab().baseOf(spec, parked);
    const { vm: back } = await lab().driver.restore({ ...spec, capture, stateFile: parked.stateFile });
    lab().keep(back);
    await deliverAndResume(back, 'back');
    await consoleSays(spec, '1:back\n');
    const again = await settled(await back.capture(targetIn(spec)), spec);
    await back.kill();
    await access(again.memoryFile);
    const { vm: third } = await lab().driver.restore({
      ...spec,
      capture: (await lab().baseOf(spec, again)).capture,
      stateFile: again.stateFile,
    });
    lab().keep(third);
    {
      await using memory = await third.openMemory();
      await deliver(memory, 'and again');
    }
    await third.resume();
    await consoleSays(spec, '2:and again\n');
    await third.kill();
  });
});

const files = ({ directory }: { directory: string }, name: string) => ({
  stateFile: join(directory, `${name}-state`),
  memoryFile: join(directory, `${name}-memory`),
});

/** The memory of a paused VM is what its capture has, and so is that of a fork. */
async function exactly(vm: Vm, spec: RestoreSpec, { memoryFile }: CaptureResult): Promise<void> {
  await using memory = await vm.openMemory();
  const inVm = await memory.read(0, spec.memoryBytes);
  expect(inVm.equals(await readFile(memoryFile))).toBe(true);
}
