import { link, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import {
  DeleteImageRequest,
  ImportImageRequest,
  ListImagesRequest,
  type Image,
} from '@offshoot/proto/generated/offshoot/v1/image_service.js';
import { CACHE, IMAGES } from './cache.js';
import type { TestHost } from './test-host.js';

/** Whether a file of an image's folder is of the image: who uses it there does not use a copy. */
export const isImageFile = (name: string): boolean => !/^(last-use|used-by-.*)$/.test(name);

/** An images directory of a test's own, in which the default image is there already. */
export class ImageDirectory implements AsyncDisposable {
  private constructor(readonly path: string) {}

  static async create(): Promise<ImageDirectory> {
    const path = await mkdtemp(join(CACHE, 'images-of-test-'));
    // All of them: which one is the default image of today the daemon knows.
    for (const name of await readdir(IMAGES)) {
      if (!/^[0-9a-f]{64}$/.test(name)) continue;
      await mkdir(join(path, name));
      for (const file of await readdir(join(IMAGES, name)))
        if (isImageFile(file)) await link(join(IMAGES, name, file), join(path, name, file));
    }
    return new ImageDirectory(path);
  }

  /** What is there that no finished image or lock has put there. */
  async leftovers(): Promise<string[]> {
    return (await readdir(this.path)).filter((name) => !/^[0-9a-f]{64}$|^\.build\.lock$|^\.cache$/.test(name));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.path, { recursive: true, force: true });
  }
}

/** @param onStep hears each step as it begins */
export async function importImage(
  host: TestHost,
  source: string,
  name: string,
  onStep: (step: string) => void = () => undefined,
): Promise<Image> {
  const { images } = host.client;
  const request = ImportImageRequest.fromPartial({ source, name });
  for await (const { event } of host.client.stream(images.importImage.bind(images), request)) {
    if (event?.$case === 'progress') onStep(event.progress.step);
    if (event?.$case === 'image') return event.image;
  }
  throw new Error('the import ended without an image');
}

export async function listImages({ client }: TestHost): Promise<readonly Image[]> {
  const request = ListImagesRequest.fromPartial({});
  return (await client.unary(client.images.listImages.bind(client.images), request)).images;
}

/** @param reference id, name, or beginning of an id */
export async function deleteImage({ client }: TestHost, reference: string, requestId = ''): Promise<void> {
  const request = DeleteImageRequest.fromPartial({ image: reference, requestId });
  await client.unary(client.images.deleteImage.bind(client.images), request);
}
