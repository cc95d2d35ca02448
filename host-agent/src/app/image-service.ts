import { asCapacityIfFull } from '../os/disk-space.js';
import type { Image, ImageStore } from '../ports/image-store.js';
import type { ImageOperations, ListedImage } from './commands.js';
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

  async list(): Promise<readonly ListedImage[]> {
    return (await this.images.list()).map((image) => ({ ...image, usage: this.images.usageOf(image.id) }));
  }

  async delete(...[reference, signal, request]: Parameters<ImageOperations['delete']>): Promise<void> {
    await this.calls.once(request, () => this.images.delete(reference), signal);
    await this.images.emptyTrash(); // once the answer is kept: whoever asks again is told that it was done
  }
}
