import { buildDefaultImage } from '@offshoot/host-agent/demo/default-image.js';
import { QemuDriver } from '@offshoot/host-agent/drivers/qemu/qemu-driver.js';
import { pino } from 'pino';
import { CACHE, IMAGES } from './cache.js';
import { isLab } from './is-lab.js';

/** Before the first test with a VM: the default image, which all of them boot. */
export async function setup(): Promise<void> {
  // The lab host brings it along, and has no network to build one.
  if (isLab) return;
  const { id } = await buildDefaultImage(
    IMAGES,
    (step) => {
      console.log(`image: ${step}`);
    },
    new AbortController().signal,
  );
  console.log(`image: ${id.slice(0, 12)}`);
  // Hosts of tests begin with what this finds: where KVM hangs, it takes 5 s to tell.
  await new QemuDriver({
    accelerator: 'auto',
    logger: pino({ level: 'silent' }),
    scratchDirectory: CACHE,
  }).probe();
}
