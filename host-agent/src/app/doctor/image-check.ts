import { pass, warn, type Check } from './check.js';

export const IMAGE_CHECK: Check = {
  name: 'images',
  run: async ({ images }) => {
    const list = await images.list();
    const [newest] = list;
    if (newest === undefined) return warn('there is none: nothing can be booted', 'run offshoot image build-default');
    return pass(`${String(list.length)}, the newest is ${newest.name} with Linux ${newest.kernelRelease}`);
  },
};
