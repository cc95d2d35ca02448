import { readFile, stat, truncate } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { rotateConsole } from '../../host-agent/src/drivers/qemu/console-rotation.js';
import { QmpClient } from '../../host-agent/src/drivers/qemu/qmp-client.js';
import { socketsOf } from '../../host-agent/src/drivers/qemu/vmm-sockets.js';
import { ROTATE_AT_BYTES, consoleLog } from '../../host-agent/src/drivers/vmm-log.js';
import { recordOf, targetIn } from '../bare-guest/capture-files.js';
import { consoleSays, deliverAndResume } from '../bare-guest/guest-control.js';
import { Lab, missingPrograms } from './lab.js';

const missing = await missingPrograms();

describe.skipIf(missing !== '')(`QEMU driver: a long console log${missing && ` (skipped: ${missing})`}`, () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await Lab.open();
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  it('is put aside, and QEMU goes on in a new one', async () => {
    const spec = await lab.spec('source');
    const launched = await lab.driver().launch(spec);
    await consoleSays(spec, 'armed\n');
    const base = await launched.capture(targetIn(spec));
    await launched.kill();
    const cloneSpec = await lab.cloneSpec('clone', spec, await recordOf(base), base);
    const { vm } = await lab.driver().restore(cloneSpec);
    lab.keep(vm);
    await vm.detach();

    const qmp = await QmpClient.connect(socketsOf(cloneSpec).qmp, AbortSignal.timeout(30_000));
    const log = consoleLog(cloneSpec);
    try {
      expect(await rotateConsole(qmp, cloneSpec)).toBe(false);
      await truncate(log, ROTATE_AT_BYTES);
      expect(await rotateConsole(qmp, cloneSpec)).toBe(true);
    } finally {
      qmp.close();
    }
    expect((await stat(log)).mode & 0o777).toBe(0o640);

    const adopted = (await lab.driver().adopt(vm.process, cloneSpec))!;
    lab.keep(adopted);
    await deliverAndResume(adopted, 'hello');
    await consoleSays(cloneSpec, '1:hello\n');
    expect((await stat(`${log}.1`)).size).toBe(ROTATE_AT_BYTES);
    expect((await readFile(log)).length).toBeLessThan(100);
  });
});
