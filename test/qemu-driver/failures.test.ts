import { createHash } from 'node:crypto';
import { appendFile, copyFile, readFile, readdir, rm, stat, truncate, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Capture } from '../../host-agent/src/domain/instance.js';
import { QmpClient } from '../../host-agent/src/drivers/qemu/qmp-client.js';
import type { CaptureResult, LaunchSpec, Vm } from '../../host-agent/src/ports/driver.js';
import { AlreadyExists, Corrupt, InvalidState, Unreachable, Unsupported } from '../../shared/src/errors.js';
import { Lab, consoleSays, missingPrograms, openDescriptors, processesIn, recordOf, targetIn } from './lab.js';

const missing = await missingPrograms();

describe.skipIf(missing !== '')(`QEMU driver: what goes wrong${missing && ` (skipped: ${missing})`}`, () => {
  let lab: Lab;
  let sourceSpec: LaunchSpec;
  let result: CaptureResult;
  let capture: Capture;
  let count = 0;
  const clone = () => lab.cloneSpec(`clone${String(++count)}`, sourceSpec, capture, result);
  const leftIn = async (spec: { directory: string; runDirectory: string }) => ({
    processes: await processesIn(spec.directory),
    sockets: await readdir(spec.runDirectory),
  });
  const nothing = { processes: [], sockets: [] };

  beforeAll(async () => {
    lab = await Lab.open();
    sourceSpec = await lab.spec('source');
    const source = lab.keep(await lab.driver().launch(sourceSpec));
    await consoleSays(sourceSpec, 'armed\n');
    result = await source.capture(targetIn(sourceSpec));
    await source.kill();
    capture = await recordOf(result);
    expect(await leftIn(sourceSpec)).toEqual(nothing);
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  it('says which binary is missing, and refuses to launch with it', async () => {
    const driver = lab.driver({ binary: 'qemu-that-is-not-there' });
    const status = await driver.probe();
    expect(status).toMatchObject({ available: false, capabilities: { fork: false } });
    expect(status.unavailableReason).toContain('qemu-that-is-not-there is not installed');
    const spec = await lab.spec('no-binary');
    await expect(driver.launch(spec)).rejects.toThrow(Unsupported);
    await expect(stat(spec.memoryFile)).rejects.toThrow('ENOENT');
  });

  it('says that a binary is no QEMU in its own words', async () => {
    const status = await lab.driver({ binary: 'false' }).probe();
    expect(status.available).toBe(false);
    expect(status.unavailableReason).toContain('false does not start');
  });

  it('quotes what QEMU said when it dies at start, and leaves nothing', async () => {
    const spec = await lab.spec('bad-disk');
    await rm(spec.disk.path);
    const failure = await lab
      .driver()
      .launch(spec)
      .catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(Unreachable);
    expect(failure).toMatchObject({ reason: 'VMM_DIED_AT_START', metadata: { exitCode: '1' } });
    expect((failure as Error).message).toContain('No such file or directory');
    expect(await leftIn(spec)).toEqual(nothing);
    await expect(stat(spec.memoryFile)).rejects.toThrow('ENOENT');
  });

  it('does not boot on a memory file that is already there, and leaves that alone', async () => {
    const spec = { ...(await lab.spec('stale')), memoryFile: result.memoryFile };
    await expect(lab.driver().launch(spec)).rejects.toThrow(AlreadyExists);
    expect((await stat(result.memoryFile)).size).toBe(spec.memoryBytes);
  });

  it.each([
    ['driverVersion', '0.1', 'QEMU version 0.1'],
    ['machineType', 'pc-q35-2.4', 'machine type pc-q35-2.4'],
    ['cpuModel', 'host (Z80)', 'CPU model host (Z80)'],
    ['accelerator', 'kvm', 'accelerator kvm'],
  ] as const)('refuses a capture with another %s, showing both values', async (key, value, message) => {
    const spec = await clone();
    const restored = lab.driver().restore({ ...spec, capture: { ...capture, [key]: value } });
    const failure = await restored.catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(InvalidState);
    expect((failure as Error).message).toContain(message);
    expect((failure as Error).message).toContain(capture[key]);
  });

  it('refuses device state that was altered', async () => {
    const spec = await clone();
    const stateFile = join(spec.directory, 'altered-state');
    await copyFile(result.stateFile, stateFile);
    await appendFile(stateFile, 'x');
    await expect(lab.driver().restore({ ...spec, stateFile })).rejects.toThrow(Corrupt);
    expect(await leftIn(spec)).toEqual(nothing);
  });

  it('gives the reason of QEMU when the state, though unaltered, cannot be loaded', async () => {
    const spec = await clone();
    const stateFile = join(spec.directory, 'short-state');
    await copyFile(result.stateFile, stateFile);
    await truncate(stateFile, 1000);
    const stateSha256 = createHash('sha256')
      .update(await readFile(stateFile))
      .digest('hex');
    const failure = await lab
      .driver()
      .restore({ ...spec, stateFile, capture: { ...capture, stateSha256 } })
      .catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(Corrupt);
    expect((failure as Error).message).toMatch(/could not load the device state: .*(load|migration|stream|section)/i);
    expect(await leftIn(spec)).toEqual(nothing);
  });

  it('refuses memory that was cut off, touched or replaced', async () => {
    const spec = await clone();
    const memoryFile = join(spec.directory, 'memory');
    await copyFile(result.memoryFile, memoryFile);
    const { memoryStamp } = await recordOf({ ...result, memoryFile });
    const altered = { ...spec, memoryFile, capture: { ...capture, memoryStamp } };
    await utimes(memoryFile, 1, 1);
    await expect(lab.driver().restore(altered)).rejects.toThrow(/mtimeNs is 1000000000, was/);
    await truncate(memoryFile, 4096);
    await expect(lab.driver().restore(altered)).rejects.toThrow(/size is 4096, was/);
    await rm(memoryFile);
    await expect(lab.driver().restore(altered)).rejects.toThrow(Corrupt);
    expect(await leftIn(spec)).toEqual(nothing);
  });

  it('leaves nothing of a launch or restore that was cancelled, at whatever moment', async () => {
    const driver = lab.driver();
    await driver.probe();
    for (const afterMs of [0, 5, 15]) {
      const spec = await lab.spec(`cancelled-launch-${String(afterMs)}`);
      await expect(driver.launch(spec, AbortSignal.timeout(afterMs))).rejects.toThrow(/abort|timeout/i);
      expect(await leftIn(spec)).toEqual(nothing);
      await expect(stat(spec.memoryFile)).rejects.toThrow('ENOENT');
      const cloneSpec = await clone();
      await expect(driver.restore(cloneSpec, AbortSignal.timeout(afterMs))).rejects.toThrow(/abort|timeout/i);
      expect(await leftIn(cloneSpec)).toEqual(nothing);
    }
  });

  it('resumes the VM when a capture is cancelled or fails, and leaves no file of it', async () => {
    const spec = await clone();
    const { vm } = await lab.driver().restore(spec);
    lab.keep(vm);
    await vm.resume();
    const before = await readdir(spec.directory);
    await expect(vm.capture(targetIn(spec), {}, AbortSignal.abort())).rejects.toThrow(/abort/i);
    const nowhere = { ...targetIn(spec), stateFile: join(spec.directory, 'no-folder/device-state') };
    await expect(vm.capture(nowhere)).rejects.toThrow(/QEMU refused xen-save-devices-state/);
    expect(await readdir(spec.directory)).toEqual(before);
    await vm.detach();
    const qmp = await QmpClient.connect(join(spec.runDirectory, 'qmp.sock'));
    expect(await qmp.run('query-status')).toMatchObject({
      status: 'running',
    });
    qmp.close();
  });

  it('tells how a VMM ended that ended by itself', async () => {
    const { vm } = await lab.driver().restore(await clone());
    lab.keep(vm);
    process.kill(vm.process.pid, 'SIGTERM');
    expect(await vm.exited).toMatchObject({
      code: 0,
      signal: null,
      logTail: expect.stringContaining('signal 15') as string,
    });
  });

  it('leaks no descriptor', async () => {
    const cycle = async (): Promise<Vm> => {
      const { vm } = await lab.driver().restore(await clone());
      const channel = await vm.dialGuest();
      await (await vm.openMemory())[Symbol.asyncDispose]();
      await vm.capture(targetIn({ directory: join(lab.root, `clone${String(count)}`) }));
      channel.destroy();
      await vm.kill();
      return vm;
    };
    await cycle();
    const before = await openDescriptors();
    for (let i = 0; i < 3; i++) await cycle();
    expect(await openDescriptors()).toBeLessThanOrEqual(before);
  });
});
