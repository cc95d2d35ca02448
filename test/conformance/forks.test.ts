import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { FRAME_ADDRESS } from '../bare-guest/bare-guest.js';
import { settled, sha256Of, targetIn } from '../bare-guest/capture-files.js';
import { consoleSays, deliver, deliverAndResume } from '../bare-guest/guest-control.js';
import { FRAME_MAGIC } from '../../shared/src/mailbox/frame-layout.js';
import { forEachDriver, type Base } from './conformance-lab.js';

const GENERATIONS = 4;
const FORKS = 16;

await forEachDriver('forks', (lab) => {
  let base: Base;
  let sha256: string;
  beforeAll(async () => {
    base = await lab().base('source');
    sha256 = await sha256Of(base.result.memoryFile);
  });

  it('boots a kernel, captures it and loads it elsewhere, paused, as often as one likes', async () => {
    for (const name of ['red', 'green', 'blue']) {
      const { vm, spec } = await lab().fork(name, base);
      expect(vm.process.privateMemory).toBe(true);
      expect(await vm.state()).toBe('paused');
      await deliverAndResume(vm, name);
      await consoleSays(spec, `1:${name}\n`);
      expect(await readFile(join(spec.logDirectory, 'console.log'), 'utf8')).toBe(`1:${name}\n`);
      expect(await vm.state()).toBe('running');
      await vm.kill();
    }
    expect(await sha256Of(base.result.memoryFile)).toBe(sha256);
  });

  it('reads and writes guest memory, and nothing beside it', async () => {
    const { vm, spec } = await lab().fork('memory', base);
    await using memory = await vm.openMemory();
    expect(await memory.read(FRAME_ADDRESS, FRAME_MAGIC.length)).toEqual(FRAME_MAGIC);
    await memory.write(spec.memoryBytes - 4, Buffer.from('last'));
    expect((await memory.read(spec.memoryBytes - 4, 4)).toString()).toBe('last');
    await expect(memory.read(spec.memoryBytes - 1, 2)).rejects.toThrow('not within guest RAM');
    await expect(memory.write(-1, Buffer.from('x'))).rejects.toThrow('not within guest RAM');
    expect(await sha256Of(base.result.memoryFile)).toBe(sha256);
    await vm.kill();
  });

  it(`runs ${String(FORKS)} forks of one base at once, each with its own payload`, async () => {
    const names = Array.from({ length: FORKS }, (_, i) => `fork ${String(i)}`);
    const forks = await Promise.all(names.map(async (name) => ({ name, ...(await lab().fork(name, base)) })));
    for (const { vm, name } of forks) await deliverAndResume(vm, name);
    await Promise.all(
      forks.map(async ({ vm, spec, name }) => {
        await consoleSays(spec, `1:${name}\n`);
        await vm.kill();
      }),
    );
    expect(await sha256Of(base.result.memoryFile)).toBe(sha256);
  });

  it('makes forks of forks of forks, each of which remembers its line', async () => {
    let parent = base;
    for (let generation = 1; generation <= GENERATIONS; generation++) {
      const before = await sha256Of(parent.result.memoryFile);
      const { vm, spec } = await lab().fork('generation', parent);
      await deliverAndResume(vm, `generation ${String(generation)}`);
      await consoleSays(spec, `${String(generation)}:generation ${String(generation)}\n`);
      const result = await settled(await vm.capture(targetIn(spec)), spec);
      console.log(
        `${lab().subject.name}: generation ${String(generation)} stood still ${result.pauseMs.toFixed(1)} ms`,
      );
      expect((await stat(result.memoryFile)).blocks * 512).toBeLessThan(16 * 1024 * 1024);
      await vm.kill();
      expect(await sha256Of(parent.result.memoryFile)).toBe(before);
      parent = await lab().baseOf(spec, result);
    }
  });

  it('finds RAM above 4 GiB where the guest has it', async () => {
    const large = await lab().base('large', 4096);
    const { vm, spec } = await lab().fork('large-fork', large);
    {
      await using memory = await vm.openMemory();
      const high = memory.regions.at(-1)!;
      expect(high.gpa).toBe(4 * 1024 ** 3);
      expect(memory.regions.reduce((sum, { size }) => sum + size, 0)).toBe(spec.memoryBytes);
      await memory.write(high.gpa + 0x1000, Buffer.from('high memory'));
      await expect(memory.read(memory.regions[0]!.size - 1, 2)).rejects.toThrow('not within guest RAM');
      await deliver(memory, 'low memory');
    }
    await vm.resume();
    await consoleSays(spec, '1:low memory\n');
    const result = await settled(await vm.capture(targetIn(spec)), spec);
    await vm.kill();
    const { vm: grandchild } = await lab().fork('large-grandchild', await lab().baseOf(spec, result));
    await using memory = await grandchild.openMemory();
    expect((await memory.read(4 * 1024 ** 3 + 0x1000, 11)).toString()).toBe('high memory');
  });
});
