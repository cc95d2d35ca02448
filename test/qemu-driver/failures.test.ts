import { createHash } from 'node:crypto';
import { copyFile, readFile, rm, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Capture } from '../../host-agent/src/domain/instance.js';
import type { CaptureResult, LaunchSpec, Vm } from '../../host-agent/src/ports/driver.js';
import { AlreadyExists, Corrupt, Unreachable } from '../../shared/src/errors.js';
import { recordOf, targetIn } from '../bare-guest/capture-files.js';
import { consoleSays } from '../bare-guest/guest-control.js';
import { NOTHING_LEFT, leftIn, openDescriptors } from '../bare-guest/left-behind.js';
import { Lab, missingPrograms } from './lab.js';

const missing = await missingPrograms();

describe.skipIf(missing !== '')(`QEMU driver: what goes wrong${missing && ` (skipped: ${missing})`}`, () => {
  let lab: Lab;
  let sourceSpec: LaunchSpec;
  let result: CaptureResult;
  let capture: Capture;
  let count = 0;
  const clone = () => lab.cloneSpec(`clone${String(++count)}`, sourceSpec, capture, result);
  beforeAll(async () => {
    lab = await Lab.open();
    sourceSpec = await lab.spec('source');
    const source = lab.keep(await lab.driver().launch(sourceSpec));
    await consoleSays(sourceSpec, 'armed\n');
    result = await source.capture(targetIn(sourceSpec));
    await source.kill();
    capture = await recordOf(result);
    expect(await leftIn(sourceSpec)).toEqual(NOTHING_LEFT);
  });
  afterAll(() => lab[Symbol.asyncDispose]());

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
    expect(await leftIn(spec)).toEqual(NOTHING_LEFT);
    await expect(stat(spec.memoryFile)).rejects.toThrow('ENOENT');
  });

  it('does not boot on a memory file that is already there, and leaves that alone', async () => {
    const spec = { ...(await lab.spec('stale')), memoryFile: result.memoryFile };
    await expect(lab.driver().launch(spec)).rejects.toThrow(AlreadyExists);
    expect((await stat(result.memoryFile)).size).toBe(spec.memoryBytes);
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
    expect(await leftIn(spec)).toEqual(NOTHING_LEFT);
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
