import { fileURLToPath } from 'node:url';
import { buildDefaultImage } from '@offshoot/host-agent/demo/default-image.js';

/** Where images live between runs: a second run builds none. */
export const IMAGES = fileURLToPath(new URL('../../.cache/images', import.meta.url));

/** Before the first test with a VM: the default image, which all of them boot. */
export async function setup(): Promise<void> {
  // The lab host brings it along, and has no network to build one.
  if (process.env.OFFSHOOT_LAB !== undefined) return;
  const { id } = await buildDefaultImage(
    IMAGES,
    (step) => {
      console.log(`image: ${step}`);
    },
    new AbortController().signal,
  );
  console.log(`image: ${id.slice(0, 12)}`);
}
