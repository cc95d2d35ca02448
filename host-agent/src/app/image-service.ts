import { asCapacityIfFull } from '../os/disk-space.js';
import type { Image, ImageStore } from '../ports/image-store.js';
import type { ImageOperations, ListedImage } from './commands.js';
import type { Context } from './context.js';
import { deleteImage } from './delete-image.js';
import type { IdempotentCalls } from './idempotent-calls.js';
import { operate } from './operate.js';

/** Images as callers see them. */
export class ImageService implements ImageOperations {
  private readonly images: ImageStore;

  constructor(
    private readonly context: Context,
    private readonly calls: IdempotentCalls,
  ) {
    this.images = context.images;
  }

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
    await operate(this.context, this.calls, request, signal, (context) => deleteImage(context, reference));
  }
}
