import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readImage } from '../../host-agent/src/images/image-record.js';
import { KERNEL_PARAMETERS } from '../../host-agent/src/images/kernel-parameters.js';
import type { Image } from '../../host-agent/src/ports/image-store.js';
import { consoleSays } from '../bare-guest/guest-control.js';
import { IMAGES } from '../harness/cache.js';
import { Lab, missingPrograms } from './lab.js';

const missing = await missingPrograms();

/** An image of the kernel, with the parameters, that instances boot today. */
async function currentImage(): Promise<Image> {
  for (const id of (await readdir(IMAGES)).filter((name) => /^[0-9a-f]{64}$/.test(name))) {
    const image = await readImage(join(IMAGES, id), id);
    if (image.kernelParameters === KERNEL_PARAMETERS) return image;
  }
  throw new Error(`no image in ${IMAGES} has today's kernel parameters`);
}

/** Lets a process run for a millisecond or two in every hundred, as on a host that has far too much to do, until `enough`. */
async function starve(pid: number, enough: () => Promise<boolean>): Promise<void> {
  for (let done = false; !done;) {
    process.kill(pid, 'SIGSTOP');
    done = await enough();
    if (!done) await pause(100);
    process.kill(pid, 'SIGCONT');
    await pause(1);
  }
}

describe.skipIf(missing !== '')(`QEMU driver: a host that is too busy${missing && ` (skipped: ${missing})`}`, () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await Lab.open();
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  it('does not make a booting kernel take its timer for broken', async () => {
    const { vmlinuz, vmlinux, kernelParameters } = await currentImage();
    const spec = await lab.spec('busy', 256);
    // What it says from its first lines on; what instances are booted with has "quiet" in it.
    const commandLine = `${kernelParameters} loglevel=7 earlyprintk=serial,ttyS0`;
    const vm = lab.keep(await lab.driver().launch({ ...spec, kernel: { vmlinuz, vmlinux, commandLine } }));
    const said = (): Promise<string> => readFile(join(spec.logDirectory, 'console.log'), 'utf8');
    // Some 50 ms before it tries the timer.
    await consoleSays(spec, 'Preemptible hierarchical RCU');
    await starve(vm.process.pid, async () => /Calibrating delay loop|Kernel panic/.test(await said()));
    expect(await said()).not.toMatch(/MP-BIOS bug|Kernel panic/);
  });
});
