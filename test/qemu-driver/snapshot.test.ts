import { execFile } from 'node:child_process';
import { closeSync, existsSync } from 'node:fs';
import { readdir, readFile, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MAX_DEVICE_NAME, openTap } from '../../host-agent/src/os/tun.js';
import type { CaptureResult, LaunchSpec, Vm } from '../../host-agent/src/ports/driver.js';
import { processesIn } from '../../host-agent/src/os/proc-orphans.js';
import { recordOf, settled, sha256Of, targetIn } from '../bare-guest/capture-files.js';
import { consoleSays, deliver, deliverAndResume, ticksGoOn, ticksIn, ticksOf } from '../bare-guest/guest-control.js';
import { openDescriptors } from '../bare-guest/left-behind.js';
import { Lab, missingPrograms } from './lab.js';

const missing = await missingPrograms();
const run = promisify(execFile);
const noTap = process.getuid?.() === 0 && existsSync('/dev/net/tun') ? '' : 'root and /dev/net/tun';

describe.skipIf(missing !== '')(
  `QEMU driver: snapshots of a VM that goes on${missing && ` (skipped: ${missing})`}`,
  () => {
    let lab: Lab;
    let spec: LaunchSpec;
    let vm: Vm;
    let first: CaptureResult;
    let firstSha256: string;
    let ticksAtPause: number;

    beforeAll(async () => {
      lab = await Lab.open();
      spec = await lab.spec('source');
      vm = lab.keep(await lab.driver().launch(spec));
      await consoleSays(spec, 'armed\n');
    });
    afterAll(() => lab[Symbol.asyncDispose]());

    it('lets a VM booted cold go on in another VMM, from exactly where it stood', async () => {
      const old = vm.process;
      const channel = await vm.dialGuest();
      await ticksGoOn(vm, 0);
      const snapshot = await vm.snapshot(targetIn(spec), {
        whilePaused: async () => {
          expect(await vm.state()).toBe('paused');
          ticksAtPause = await ticksIn(spec.memoryFile);
          // Nobody holds the disk: neither the VMM that ran the guest nor the one that will.
          await run('qemu-io', ['-c', 'read 0 512', spec.disk.path]);
        },
      });
      first = snapshot.capture;
      expect(snapshot.replaced).toBe(true);
      expect(first).toMatchObject({ memoryFile: spec.memoryFile, stateFile: targetIn(spec).stateFile });
      expect(vm.process.pid).not.toBe(old.pid);
      expect(vm.process.privateMemory).toBe(true);
      expect(await processesIn(spec.directory)).toEqual([vm.process.pid]);
      expect((await readdir(spec.runDirectory)).sort()).toEqual(['channel.sock', 'qmp.sock', 'successor.json']);
      expect(await vm.state()).toBe('running');
      expect(ticksAtPause).toBeGreaterThan(0);
      expect(await ticksOf(vm)).toBeGreaterThanOrEqual(ticksAtPause);
      await ticksGoOn(vm, ticksAtPause);
      expect(await ticksIn(spec.memoryFile)).toBe(ticksAtPause);
      expect(channel.destroyed).toBe(true);
      (await vm.dialGuest()).destroy();
      await expect(run('qemu-io', ['-c', 'read 0 512', spec.disk.path])).rejects.toThrow(/lock/);
      firstSha256 = await sha256Of(first.memoryFile);
    });

    it('makes three forks of that instant, which do not see what the VM does meanwhile', async () => {
      const capture = await recordOf(first);
      const paused = vm.pause();
      await paused;
      await deliverAndResume(vm, 'source');
      await consoleSays(spec, '1:source\n');
      for (const name of ['red', 'green', 'blue']) {
        const forkSpec = await lab.cloneSpec(name, spec, capture, first);
        const fork = lab.keep((await lab.driver().restore(forkSpec)).vm);
        expect(await fork.state()).toBe('paused');
        expect(await ticksOf(fork)).toBe(ticksAtPause);
        await deliverAndResume(fork, name);
        await consoleSays(forkSpec, `1:${name}\n`);
        await ticksGoOn(fork, ticksAtPause);
        await fork.kill();
      }
      await ticksGoOn(vm, await ticksOf(vm));
      expect(await sha256Of(first.memoryFile)).toBe(firstSha256);
    });

    it('takes further ones without another VMM, and a fork of these is a VM like any other', async () => {
      const { process } = vm;
      const files = {
        stateFile: join(spec.directory, 'second-state'),
        memoryFile: join(spec.directory, 'second-memory'),
      };
      let ticks = 0;
      const { capture, replaced } = await vm.snapshot(files, {
        whilePaused: async () => {
          expect(await vm.state()).toBe('paused');
          ticks = await ticksOf(vm);
        },
      });
      expect(replaced).toBe(false);
      expect(vm.process).toEqual(process);
      expect(capture).toMatchObject(files);
      expect(await ticksIn(files.memoryFile)).toBe(ticks);
      await ticksGoOn(vm, ticks);
      const forkSpec = await lab.cloneSpec('child', spec, await recordOf(capture), capture);
      const fork = lab.keep((await lab.driver().restore(forkSpec)).vm);
      expect(await ticksOf(fork)).toBe(ticks);
      await deliverAndResume(fork, 'child');
      await consoleSays(forkSpec, '2:child\n'); // its counter came along
      const grandchild = await fork.snapshot(targetIn(forkSpec));
      expect(grandchild.replaced).toBe(false);
      await fork.kill();
      expect(await sha256Of(first.memoryFile)).toBe(firstSha256);
    });

    it('captures exactly what is in the memory, though pages are read while the device state is written', async () => {
      const forkSpec = await lab.cloneSpec('exact', spec, await recordOf(first), first);
      const fork = lab.keep((await lab.driver().restore(forkSpec)).vm);
      {
        await using memory = await fork.openMemory();
        for (let page = 0; page < 3000; page++)
          await memory.write(0x80_0000 + page * 8192, Buffer.from(`page ${String(page)}`));
      }
      await fork.resume();
      await ticksGoOn(fork, ticksAtPause);
      const { memoryFile } = await fork.capture(targetIn(forkSpec));
      await using memory = await fork.openMemory();
      const inVm = await memory.read(0, spec.memoryBytes);
      expect(inVm.equals(await readFile(memoryFile))).toBe(true);
      await fork.kill();
    });

    it('leaves a VM paused that was paused, and its next life is as good', async () => {
      const pausedSpec = await lab.spec('paused');
      const paused = lab.keep(await lab.driver().launch(pausedSpec));
      await consoleSays(pausedSpec, 'armed\n');
      await paused.pause();
      const ticks = await ticksOf(paused);
      const snapshot = await paused.snapshot(targetIn(pausedSpec));
      expect(snapshot.replaced).toBe(true);
      expect(await paused.state()).toBe('paused');
      expect(await ticksOf(paused)).toBe(ticks);
      const again = await paused.snapshot({ ...targetIn(pausedSpec), stateFile: join(pausedSpec.directory, 'again') });
      expect(again.replaced).toBe(false);
      expect(await paused.state()).toBe('paused');
      {
        await using memory = await paused.openMemory();
        await deliver(memory, 'resumed');
      }
      await paused.resume();
      await consoleSays(pausedSpec, '1:resumed\n');
      await expect(run('qemu-io', ['-c', 'read 0 512', pausedSpec.disk.path])).rejects.toThrow(/lock/);
      await paused.kill();
      expect(await readdir(pausedSpec.runDirectory)).toEqual([]);
    });

    it('parks and restores a VM that was handed over, and is handed over only once', async () => {
      const parked = await settled(await vm.capture(targetIn(spec)), spec);
      await vm.kill();
      expect(await vm.exited).toMatchObject({ signal: 'SIGKILL' });
      const { vm: back } = await lab
        .driver()
        .restore({ ...spec, capture: await recordOf(parked), stateFile: parked.stateFile });
      vm = lab.keep(back);
      await vm.resume();
      const { replaced } = await vm.snapshot(targetIn(spec));
      expect(replaced).toBe(false);
      expect((await stat(spec.memoryFile)).size).toBe(spec.memoryBytes);
    });

    it.skipIf(noTap !== '')(`takes the TAP over with the VM${noTap && ` (skipped: ${noTap})`}`, async () => {
      const name = `oftest${String(process.pid)}`.slice(0, MAX_DEVICE_NAME);
      const device = `/sys/class/net/${name}`;
      const tapSpec = await lab.spec('tap');
      const descriptor = openTap(name);
      const launched = lab
        .driver()
        .launch({ ...tapSpec, nic: { ...tapSpec.nic, backend: { kind: 'tap', descriptor } } })
        .finally(() => {
          closeSync(descriptor);
        });
      const tapVm = lab.keep(await launched);
      await consoleSays(tapSpec, 'armed\n');
      const ticks = await ticksOf(tapVm);
      expect((await tapVm.snapshot(targetIn(tapSpec))).replaced).toBe(true);
      await ticksGoOn(tapVm, ticks);
      expect(existsSync(device)).toBe(true);
      const opened = await readdir(`/proc/${String(tapVm.process.pid)}/fd`);
      const links = await Promise.all(
        opened.map(async (fd) => readlink(`/proc/${String(tapVm.process.pid)}/fd/${fd}`).catch(() => '')),
      );
      expect(links.filter((link) => link === '/dev/net/tun')).toHaveLength(1);
      await tapVm.kill();
      expect(existsSync(device)).toBe(false);
    });

    it('leaks no descriptor', async () => {
      const cycle = async (name: string): Promise<void> => {
        const cycleSpec = await lab.spec(name);
        const cycled = lab.keep(await lab.driver().launch(cycleSpec));
        await consoleSays(cycleSpec, 'armed\n');
        await cycled.snapshot(targetIn(cycleSpec));
        await cycled.snapshot(targetIn(cycleSpec));
        await cycled.kill();
      };
      await cycle('leak0');
      const before = await openDescriptors();
      await cycle('leak1');
      await cycle('leak2');
      expect(await openDescriptors()).toBeLessThanOrEqual(before);
    });
  },
);
