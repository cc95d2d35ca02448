import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { CACHE } from './cache.js';
import { ImageDirectory } from './image-directory.js';
import { TestHost } from './test-host.js';

/** A daemon with an images directory of its own, and a folder for what is imported into it. */
export class ImportLab implements AsyncDisposable {
  private constructor(
    readonly images: ImageDirectory,
    readonly host: TestHost,
    /** On the file system of the images, where there is room. */
    readonly scratch: string,
  ) {}

  static async start(): Promise<ImportLab> {
    const images = await ImageDirectory.create();
    try {
      const host = await TestHost.start({ settings: { images_dir: images.path } });
      return new ImportLab(images, host, mkdtempSync(join(CACHE, 'source-')));
    } catch (error) {
      await images[Symbol.asyncDispose]();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    rmSync(this.scratch, { recursive: true, force: true });
    await this.host[Symbol.asyncDispose]();
    await this.images[Symbol.asyncDispose]();
  }
}
