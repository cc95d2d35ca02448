import type { CapturePaths } from '../paths.js';

/** What there is to say of layers where disks have none. */
export abstract class WithoutLayers {
  needsLayer(): Promise<boolean> {
    return Promise.resolve(false);
  }

  prepareLayer(folder: CapturePaths): Promise<never> {
    return this.refuse(folder);
  }

  mergeLayers(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  changeBacking(folder: CapturePaths): Promise<never> {
    return this.refuse(folder);
  }

  private refuse({ root }: CapturePaths): Promise<never> {
    return Promise.reject(new Error(`the disk in ${root} is a raw one, which has no layers`));
  }
}
