import { readdir } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Conflict } from '../../shared/src/errors.js';
import { Lab, consoleSays, deliverAndResume, missingPrograms, recordOf, settled, targetIn } from './lab.js';

const missing = await missingPrograms();

describe.skipIf(missing !== '')(`QEMU driver: taking VMs over${missing && ` (skipped: ${missing})`}`, () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await Lab.open();
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  it('adopts running VMs, which can be captured and forked as before, and hears of their end', async () => {
    const spec = await lab.spec('source');
    const launched = lab.keep(await lab.driver().launch(spec));
    await consoleSays(spec, 'armed\n');
    await launched.detach();

    const adopted = await lab.driver().adopt(launched.process, spec);
    expect(adopted).toBeDefined();
    const result = await adopted!.capture(targetIn(spec));
    await adopted!.kill();
    expect(await adopted!.exited).toMatchObject({ code: null, signal: null });
    expect(await readdir(spec.runDirectory)).toEqual([]);

    const cloneSpec = await lab.cloneSpec('clone', spec, await recordOf(result), result);
    const { vm } = await lab.driver().restore(cloneSpec);
    lab.keep(vm);
    await vm.detach();
    const clone = await lab.driver().adopt(vm.process, cloneSpec);
    await deliverAndResume(clone!, 'adopted');
    await consoleSays(cloneSpec, '1:adopted\n');
    const second = await settled(await clone!.capture(targetIn(cloneSpec)), cloneSpec);
    expect(second.memoryFile).not.toBe(result.memoryFile);
    process.kill(vm.process.pid, 'SIGKILL');
    await clone!.exited;
  });

  it('does not take another process for a VMM that is gone', async () => {
    const spec = await lab.spec('gone');
    const vm = await lab.driver().launch(spec);
    await vm.kill();
    const driver = lab.driver();
    expect(await driver.adopt(vm.process, spec)).toBeUndefined();
    expect(await driver.adopt({ ...vm.process, pid: process.pid }, spec)).toBeUndefined();
  });

  it('tells a guest that powered off from a VMM that was killed', async () => {
    for (const end of ['poweroff', 'kill'] as const) {
      const spec = await lab.spec(end);
      const launched = await lab.driver().launch(spec);
      await consoleSays(spec, 'armed\n');
      const base = await launched.capture(targetIn(spec));
      await launched.kill();
      const cloneSpec = await lab.cloneSpec(`${end}-clone`, spec, await recordOf(base), base);
      const { vm } = await lab.driver().restore(cloneSpec);
      lab.keep(vm);
      await vm.detach();
      const adopted = (await lab.driver().adopt(vm.process, cloneSpec))!;
      expect(await adopted.state()).toBe('paused');
      await deliverAndResume(adopted, end);
      await consoleSays(cloneSpec, `1:${end}\n`);
      if (end === 'kill') process.kill(vm.process.pid, 'SIGKILL');
      expect(await adopted.exited).toMatchObject({ code: end === 'kill' ? null : 0, signal: null });
    }
  });

  it("gives the guest's channel to one at a time, again and again", async () => {
    const spec = await lab.spec('channel');
    const vm = lab.keep(await lab.driver().launch(spec));
    const first = await vm.dialGuest();
    await expect(vm.dialGuest()).rejects.toThrow(Conflict);
    first.destroy();
    (await vm.dialGuest()).destroy();
  });
});
