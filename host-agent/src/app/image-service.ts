import { asCapacityIfFull } from '../os/disk-space.js';
import type { Image, ImageStore } from '../ports/image-store.js';
import type { ImageOperations } from './commands.js';

/** Images as callers see them. */
export class ImageService implements ImageOperations {
  constructor(private readonly images: ImageStore) {}

  async import(...parameters: Parameters<ImageOperations['import']>): Promise<Image> {
    try {
      return await this.images.import(...parameters);
    } catch (error) {
      throw asCapacityIfFull(error);
    }
  }

  list(): Promise<readonly Image[]> {
    return this.images.list();
  }
}
