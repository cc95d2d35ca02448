import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { QmpClient } from '../../host-agent/src/drivers/qemu/qmp-client.js';
import type { LaunchSpec, Vm } from '../../host-agent/src/ports/driver.js';
import { InvalidState } from '../../shared/src/errors.js';
import { FRAME_MAGIC } from '../../shared/src/mailbox/frame-layout.js';
import { FRAME_ADDRESS } from '../bare-guest/bare-guest.js';
import {
  Lab,
  consoleSays,
  deliver,
  deliverAndResume,
  missingPrograms,
  recordOf,
  settled,
  sha256Of,
  targetIn,
} from './lab.js';

const missing = await missingPrograms();

describe.skipIf(missing !== '')(`QEMU driver: forks of a bare guest${missing && ` (skipped: ${missing})`}`, () => {
  let lab: Lab;
  let sourceSpec: LaunchSpec;
  let source: Vm;
  const driver = () => lab.driver();

  beforeAll(async () => {
    lab = await Lab.open();
    sourceSpec = await lab.spec('source');
    source = lab.keep(await driver().launch(sourceSpec));
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  it('boots a kernel, whose console ends up in the log', async () => {
    await consoleSays(sourceSpec, 'armed\n');
    expect(source.process.privateMemory).toBe(false);
  });

  it('reads guest memory, and refuses to write what forks would share or what is no RAM', async () => {
    await source.pause();
    await using memory = await source.openMemory();
    expect(await memory.read(FRAME_ADDRESS, FRAME_MAGIC.length)).toEqual(FRAME_MAGIC);
    await expect(memory.write(FRAME_ADDRESS, Buffer.from('x'))).rejects.toThrow(InvalidState);
    await expect(memory.read(sourceSpec.memoryBytes - 1, 2)).rejects.toThrow('not within guest RAM');
    await expect(memory.read(-1, 1)).rejects.toThrow('not within guest RAM');
    await source.resume();
  });

  it('gives three forks their own payloads, and forks of forks theirs, while the base stays as it was', async () => {
    const result = await source.capture(targetIn(sourceSpec));
    expect(result.memoryFile).toBe(sourceSpec.memoryFile);
    await source.kill();
    const capture = await recordOf(result);
    const before = await sha256Of(result.memoryFile);

    const forks = [];
    for (const name of ['red', 'green', 'blue']) {
      const spec = await lab.cloneSpec(name, sourceSpec, capture, result);
      const { vm, timings } = await driver().restore(spec);
      lab.keep(vm);
      expect(timings.spawnMs).toBeGreaterThan(0);
      await deliverAndResume(vm, name);
      forks.push({ vm, spec, name });
    }
    for (const { spec, name } of forks) {
      await consoleSays(spec, `1:${name}\n`);
      expect(await readFile(join(spec.logDirectory, 'console.log'), 'utf8')).toBe(`1:${name}\n`);
    }

    const [{ vm, spec }] = forks as [(typeof forks)[number]];
    const second = await settled(await vm.capture(targetIn(spec)), spec);
    expect((await stat(second.memoryFile)).blocks * 512).toBeLessThan(16 * 1024 * 1024);
    const grandchildSpec = await lab.cloneSpec('grandchild', sourceSpec, await recordOf(second), second);
    const grandchild = lab.keep((await driver().restore(grandchildSpec)).vm);
    await deliverAndResume(grandchild, 'grandchild');
    // Its counter stood at 1: the fork's private page came along.
    await consoleSays(grandchildSpec, '2:grandchild\n');

    await vm.resume();
    await vm.pause();
    await deliverAndResume(vm, 'red again');
    await consoleSays(spec, '2:red again\n');
    expect(await sha256Of(result.memoryFile)).toBe(before);
  });

  it('finds RAM above 4 GiB where the guest has it', async () => {
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
