import { readdir } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { DRIVER_CAPABILITIES } from '../../host-agent/src/domain/driver-capabilities.js';
import { InvalidState, Unreachable, Unsupported } from '../../shared/src/errors.js';
import { consoleSays, deliverAndResume, ticksGoOn, ticksOf, unlessGone } from '../bare-guest/guest-control.js';
import { NOTHING_LEFT, leftIn } from '../bare-guest/left-behind.js';
import { FRAME_MAGIC } from '../../shared/src/mailbox/frame-layout.js';
import { FRAME_ADDRESS } from '../bare-guest/bare-guest.js';
import { targetIn } from '../bare-guest/capture-files.js';
import { forEachDriver } from './conformance-lab.js';

await forEachDriver('the life of a VM', (lab) => {
  it('says what it is and can do', async () => {
    const status = await lab().driver.probe();
    expect(status).toMatchObject({
      name: lab().driver.name,
      available: true,
      unavailableReason: '',
      capabilities: DRIVER_CAPABILITIES[lab().driver.name],
    });
    expect(status.version).toMatch(/^\d+\.\d+/);
    expect(await lab().driver.probe()).toBe(status);
  });

  it('boots a kernel, pauses and resumes it, and leaves nothing when it is killed', async () => {
    const { vm, spec } = await lab().launch('plain');
    expect(await vm.state()).toBe('running');
    expect(await vm.diskFile()).toBe(spec.disk.path);
    await vm.pause();
    expect(await vm.state()).toBe('paused');
    await vm.pause();
    expect(await vm.state()).toBe('paused');
    await vm.resume();
    expect(await vm.state()).toBe('running');
    await vm.resume();
    await vm.kill();
    expect(await vm.exited).toMatchObject({ code: null, signal: 'SIGKILL' });
    expect(await leftIn(spec)).toEqual(NOTHING_LEFT);
    await expect(vm.state()).rejects.toThrow(Unreachable);
  });

  it('stands still while it is paused, and counts on from there', async () => {
    const { vm } = await lab().fork('still', await lab().base('source'));
    const loaded = await ticksOf(vm);
    await vm.resume();
    await ticksGoOn(vm, loaded);
    await vm.pause();
    const paused = await ticksOf(vm);
    expect(await ticksOf(vm)).toBe(paused);
    await vm.resume();
    await ticksGoOn(vm, paused);
    await vm.kill();
  });

  it('ends when its guest resets it, and says so', async () => {
    const { vm, spec } = await lab().fork('reset', await lab().base('source'));
    await unlessGone(deliverAndResume(vm, 'reset'));
    await consoleSays(spec, '1:reset\n');
    expect(await vm.exited).toMatchObject({ signal: null, ...lab().subject.traits.reset });
    await vm.kill();
    expect(await leftIn(spec)).toEqual(NOTHING_LEFT);
  });

  it('ends when somebody kills its VMM, and the next call says that it is gone', async () => {
    const { vm, spec } = await lab().fork('killed', await lab().base('source'));
    process.kill(vm.process.pid, 'SIGKILL');
    expect(await vm.exited).toMatchObject({ code: null, signal: 'SIGKILL' });
    await expect(vm.resume()).rejects.toMatchObject({ kind: 'Unreachable', reason: 'VMM_GONE' });
    await expect(vm.openMemory()).rejects.toThrow(Unreachable);
    await vm.kill();
    expect(await leftIn(spec)).toEqual(NOTHING_LEFT);
  });

  describe('memory of a VM booted cold', () => {
    it('is read where it can be, and not written where others may map it', async () => {
      const { vm } = await lab().launch('cold');
      expect(vm.process.privateMemory).toBe(lab().subject.traits.coldMemory !== 'in its file');
      await vm.pause();
      if (lab().subject.traits.coldMemory === 'in its file') {
        await using memory = await vm.openMemory();
        expect(await memory.read(FRAME_ADDRESS, FRAME_MAGIC.length)).toEqual(FRAME_MAGIC);
        await expect(memory.write(0, Buffer.from('x'))).rejects.toThrow(InvalidState);
      } else await expect(vm.openMemory()).rejects.toMatchObject({ kind: 'Unsupported', reason: 'MEMORY_ANONYMOUS' });
      await vm.kill();
    });
  });

  it('lays disks in layers, or says that it cannot', async () => {
    const { vm, spec } = await lab().launch('layers');
    const before = await readdir(spec.directory);
    if (!DRIVER_CAPABILITIES[lab().driver.name].diskLayers) {
      await expect(vm.layDisk(`${spec.disk.path}.layer`)).rejects.toThrow(Unsupported);
      await expect(vm.changeBacking(`${spec.disk.path}.layer`)).rejects.toThrow(Unsupported);
      expect(await readdir(spec.directory)).toEqual(before);
      expect(await vm.diskFile()).toBe(spec.disk.path);
    }
    await vm.kill();
  });

  it('gives up a VM that was let go, which runs on for whoever takes it next', async () => {
    const { vm, spec } = await lab().fork('let-go', await lab().base('source'));
    await vm.detach();
    const adopted = lab().keep((await lab().newDriver().adopt(vm.process, spec))!);
    expect(await adopted.state()).toBe('paused');
    const result = await adopted.capture(targetIn(spec));
    expect(result.pauseMs).toBeGreaterThan(0);
    await adopted.kill();
    expect(await leftIn(spec)).toEqual(NOTHING_LEFT);
  });
});
