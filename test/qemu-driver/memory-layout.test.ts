import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { QmpClient } from '../../host-agent/src/drivers/qemu/qmp-client.js';
import { recordOf, targetIn } from '../bare-guest/capture-files.js';
import { consoleSays, deliver } from '../bare-guest/guest-control.js';
import { Lab, missingPrograms } from './lab.js';

const missing = await missingPrograms();

describe.skipIf(missing !== '')(`QEMU driver: where RAM is${missing && ` (skipped: ${missing})`}`, () => {
  let lab: Lab;
  const driver = () => lab.driver();

  beforeAll(async () => {
    lab = await Lab.open();
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  it('is where QEMU says itself that the guest has it, also above 4 GiB', async () => {
    const spec = await lab.spec('large', 3072);
    const vm = lab.keep(await driver().launch(spec));
    await consoleSays(spec, 'armed\n');
    const result = await vm.capture(targetIn(spec));
    await vm.kill();
    const cloneSpec = await lab.cloneSpec('large-clone', spec, await recordOf(result), result);
    const clone = lab.keep((await driver().restore(cloneSpec)).vm);
    const high = 4 * 1024 ** 3;
    await using memory = await clone.openMemory();
    expect(memory.regions.map(({ gpa, size }) => [gpa, size])).toEqual([
      [0, 2 * 1024 ** 3],
      [high, 1024 ** 3],
    ]);
    await memory.write(high + 0x1000, Buffer.from('high memory'));
    await expect(memory.read(2 * 1024 ** 3 - 1, 2)).rejects.toThrow('not within guest RAM');
    await deliver(memory, 'low memory');
    await clone.detach();
    const qmp = await QmpClient.connect(join(cloneSpec.runDirectory, 'qmp.sock'));
    const dump = { 'command-line': `xp /11xb 0x${(high + 0x1000).toString(16)}` };
    const shown = String(await qmp.run('human-monitor-command', dump));
    const seen = [...shown.matchAll(/ 0x([0-9a-f]{2})/g)].map(([, hex]) => Number.parseInt(hex!, 16));
    expect(Buffer.from(seen).toString()).toBe('high memory');
    qmp.close();
  });
});
