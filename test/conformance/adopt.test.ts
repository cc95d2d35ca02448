import { beforeAll, expect, it } from 'vitest';
import { settled, targetIn } from '../bare-guest/capture-files.js';
import { consoleSays, deliverAndResume } from '../bare-guest/guest-control.js';
import { NOTHING_LEFT, leftIn } from '../bare-guest/left-behind.js';
import { forEachDriver, type Base } from './conformance-lab.js';

await forEachDriver('taking VMs over', (lab) => {
  let base: Base;
  beforeAll(async () => {
    base = await lab().base('source');
  });

  it('adopts a VM that was booted, which can be captured and forked as before, and hears of its end', async () => {
    const { vm: launched, spec } = await lab().launch('booted');
    await launched.detach();
    const adopted = lab().keep((await lab().newDriver().adopt(launched.process, spec))!);
    expect(await adopted.state()).toBe('running');
    const result = await adopted.capture(targetIn(spec));
    await adopted.kill();
    expect(await adopted.exited).toMatchObject({ code: null, signal: null });
    expect(await leftIn(spec)).toEqual(NOTHING_LEFT);
    const { vm, spec: forkSpec } = await lab().fork('fork', await lab().baseOf(spec, result));
    await deliverAndResume(vm, 'of an adopted VM');
    await consoleSays(forkSpec, '1:of an adopted VM\n');
    await vm.kill();
  });

  it('adopts a fork, whose captures have all it ever changed', async () => {
    const { vm: fork, spec } = await lab().fork('fork', base);
    await deliverAndResume(fork, 'before');
    await consoleSays(spec, '1:before\n');
    // What the guest changed up to here, a capture of the daemon before has seen.
    await fork.snapshot(targetIn(spec));
    await fork.pause();
    await fork.detach();
    const adopted = lab().keep((await lab().newDriver().adopt(fork.process, spec))!);
    expect(await adopted.state()).toBe('paused');
    await deliverAndResume(adopted, 'after');
    await consoleSays(spec, '2:after\n');
    const result = await settled(await adopted.capture(targetIn(spec)), spec);
    await adopted.kill();
    const { vm, spec: childSpec } = await lab().fork('child', await lab().baseOf(spec, result));
    await deliverAndResume(vm, 'child');
    await consoleSays(childSpec, '3:child\n');
    await vm.kill();
  });

  it('does not take another process for a VMM that is gone', async () => {
    const { vm, spec } = await lab().launch('gone');
    await vm.kill();
    const driver = lab().newDriver();
    expect(await driver.adopt(vm.process, spec)).toBeUndefined();
    expect(await driver.adopt({ ...vm.process, pid: process.pid }, spec)).toBeUndefined();
    expect(await leftIn(spec)).toEqual(NOTHING_LEFT);
  });

  it('removes what a VMM left that ended while nobody looked', async () => {
    const { vm, spec } = await lab().fork('ended', base);
    await vm.detach();
    process.kill(vm.process.pid, 'SIGKILL');
    await vm.exited;
    expect(await lab().newDriver().adopt(vm.process, spec)).toBeUndefined();
    expect(await leftIn(spec)).toEqual(NOTHING_LEFT);
  });

  it.each(['reset', 'kill'] as const)('tells the end of an adopted VM: %s', async (end) => {
    const { vm, spec } = await lab().fork(end, base);
    await vm.detach();
    const adopted = lab().keep((await lab().newDriver().adopt(vm.process, spec))!);
    await deliverAndResume(adopted, end);
    if (end === 'kill') {
      await consoleSays(spec, `1:${end}\n`);
      process.kill(vm.process.pid, 'SIGKILL');
    }
    expect(await adopted.exited).toMatchObject(
      end === 'kill' ? { code: null, signal: null } : { signal: null, ...lab().subject.traits.reset },
    );
    await adopted.kill();
    expect(await leftIn(spec)).toEqual(NOTHING_LEFT);
  });
});
