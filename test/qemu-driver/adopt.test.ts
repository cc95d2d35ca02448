import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Conflict } from '../../shared/src/errors.js';
import { recordOf, targetIn } from '../bare-guest/capture-files.js';
import { consoleSays, deliverAndResume } from '../bare-guest/guest-control.js';
import { Lab, missingPrograms } from './lab.js';

const missing = await missingPrograms();

describe.skipIf(missing !== '')(`QEMU driver: taking VMs over${missing && ` (skipped: ${missing})`}`, () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await Lab.open();
  });
  afterAll(() => lab[Symbol.asyncDispose]());

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
