import { open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '@offshoot/shared/errors.js';
import type { Image } from '../../ports/image-store.js';
import { fail, pass, warn, type Check } from './check.js';

/** What each file of a kernel begins with, and where: `HdrS` of the boot protocol (x86/boot.rst), ELF (elf(5)), newc (cpio(5)). */
const MAGICS = [
  { part: 'vmlinuz', offset: 0x202, magics: ['HdrS'] },
  { part: 'vmlinux', offset: 0, magics: ['\x7fELF'] },
  // A RAM disk is packed, or not.
  { part: 'initrd', offset: 0, magics: ['070701', '\x1f\x8b', '\x28\xb5\x2f\xfd', '\xfd7zXZ'] },
] as const;

/** Of the bundle: what the guest runs first, and the command for its programs. */
const BUNDLE_FILES = ['agent.cjs', 'offshoot-guest'];

/** What instances boot, and what the next image is made with. */
export const IMAGE_CHECKS: readonly Check[] = [
  {
    name: 'guest-agent',
    run: async ({ agentBundle }) => {
      for (const name of BUNDLE_FILES) {
        const size = await sizeOf(join(agentBundle, name));
        if (size === undefined || size === 0)
          return fail(
            `${join(agentBundle, name)} is ${size === undefined ? 'missing' : 'empty'}: no image can be made`,
            'make build, or install offshoot anew',
          );
      }
      return pass(agentBundle);
    },
  },
  {
    name: 'images',
    run: async ({ images }) => {
      const list = await images.list();
      const [newest] = list;
      if (newest === undefined) return warn('there is none: nothing can be booted', 'run offshoot image build-default');
      return pass(`${String(list.length)}, the newest is ${newest.name} with Linux ${newest.kernelRelease}`);
    },
  },
  {
    name: 'kernel-image',
    run: async ({ images }) => {
      const list = await images.list();
      if (list.length === 0) return pass('comes with the first image');
      for (const image of list) {
        const wrong = await wrongPartOf(image);
        if (wrong !== undefined)
          return fail(
            `${wrong} of the image ${image.name} (${image.id.slice(0, 12)}) is not what a kernel begins with`,
            `delete what is made of it, run offshoot image rm ${image.id.slice(0, 12)}, and import it again`,
          );
      }
      return pass([...new Set(list.map(({ kernelRelease }) => `Linux ${kernelRelease}`))].join(', '));
    },
  },
];

async function wrongPartOf(image: Image): Promise<string | undefined> {
  for (const { part, offset, magics } of MAGICS) {
    await using file = await open(image[part], 'r');
    const { buffer, bytesRead } = await file.read(Buffer.alloc(8), 0, 8, offset);
    const found = buffer.toString('latin1', 0, bytesRead);
    if (!magics.some((magic) => found.startsWith(magic))) return part;
  }
  return undefined;
}

const sizeOf = (path: string): Promise<number | undefined> =>
  stat(path).then(
    ({ size }) => size,
    (error: unknown) => {
      if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
      throw error;
    },
  );
