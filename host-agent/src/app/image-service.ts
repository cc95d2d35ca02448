import { asCapacityIfFull } from '../os/disk-space.js';
import type { Image, ImageStore } from '../ports/image-store.js';
import type { ImageOperations } from './commands.js';
import type { IdempotentCalls } from './idempotent-calls.js';

/** Images as callers see them. */
export class ImageService implements ImageOperations {
  constructor(
    private readonly images: ImageStore,
    private readonly calls: IdempotentCalls,
  ) {}

  async import(...[order, onStep, signal, request]: Parameters<ImageOperations['import']>): Promise<Image> {
    try {
      return await this.calls.once(request, () => this.images.import(order, onStep, signal), signal);
    } catch (error) {
      throw asCapacityIfFull(error);
    }
  }

  list(): Promise<readonly Image[]> {
    return this.images.list();
  }
}
