import { open, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { Corrupt, messageOf } from '@offshoot/shared/errors.js';
import { parseImageId } from '../domain/ids.js';
import { replaceFile, syncDirectory } from '../os/durable-file.js';
import type { Image } from '../ports/image-store.js';

/** Grows when the files of an image, or their meaning, change: images of other layouts are not looked at. */
export const LAYOUT_VERSION = 2;

/** Files of an image's folder. */
export const IMAGE_FILES = {
  rootDisk: 'rootfs.ext4',
  vmlinuz: 'vmlinuz',
  vmlinux: 'vmlinux',
  initrd: 'initrd',
  record: 'image.json',
} as const;

const count = z.number().int().nonnegative();
const config = z.object({
  entrypoint: z.array(z.string()).readonly(),
  command: z.array(z.string()).readonly(),
  env: z.record(z.string(), z.string()),
  user: z.object({ uid: count, gid: count, groups: z.array(count).readonly(), home: z.string() }),
  workingDirectory: z.string(),
});

const record = z.object({
  layout: z.literal(LAYOUT_VERSION),
  id: z.string(),
  name: z.string(),
  kernelRelease: z.string(),
  kernelParameters: z.string(),
  createdAt: z.iso.datetime(),
  /** Sizes in bytes: a file cut short is noticed without reading it. */
  bytes: z.object({ rootDisk: z.number(), vmlinuz: z.number(), vmlinux: z.number(), initrd: z.number() }),
  /** What the image itself says of the program to run in it. */
  config: config.optional(),
  /** What it was made of, for people. */
  inputs: z.record(z.string(), z.string()),
});

/** What `image.json` says. */
export type ImageRecord = z.infer<typeof record>;

/** What only the builder of an image knows of it. */
export type NewImage = Omit<ImageRecord, 'layout' | 'createdAt' | 'bytes'>;

/** Writes `image.json` beside the other files, which are there, and makes all of it survive a power cut. */
export async function finishImage(folder: string, image: NewImage, signal: AbortSignal): Promise<void> {
  const sizeOf = async (name: string): Promise<number> => (await stat(join(folder, name))).size;
  const whole: ImageRecord = {
    layout: LAYOUT_VERSION,
    ...image,
    createdAt: new Date().toISOString(),
    bytes: {
      rootDisk: await sizeOf(IMAGE_FILES.rootDisk),
      vmlinuz: await sizeOf(IMAGE_FILES.vmlinuz),
      vmlinux: await sizeOf(IMAGE_FILES.vmlinux),
      initrd: await sizeOf(IMAGE_FILES.initrd),
    },
  };
  await writeFile(join(folder, IMAGE_FILES.record), written(whole));
  for (const file of Object.values(IMAGE_FILES)) {
    await using handle = await open(join(folder, file), 'r');
    await handle.sync();
  }
  await syncDirectory(folder);
  signal.throwIfAborted();
}

/** Gives an image another name; it is the newest of that name from then on. */
export async function renameImage(folder: string, name: string): Promise<void> {
  const path = join(folder, IMAGE_FILES.record);
  const known = record.parse(JSON.parse(await readFile(path, 'utf8')));
  await replaceFile(path, written({ ...known, name, createdAt: new Date().toISOString() }), { durable: true });
}

/** Whether a file in an image's folder was to replace its record. */
export const isUnfinishedRecord = (name: string): boolean =>
  name.startsWith(`.${IMAGE_FILES.record}.`) && name.endsWith('.tmp');

const written = (image: ImageRecord): string => `${JSON.stringify(image, null, 2)}\n`;

/** @throws Corrupt when `image.json` or a file it speaks of is absent or not as it should be */
export async function readImage(folder: string, expectedId: string): Promise<Image> {
  try {
    const { id, bytes, ...rest } = record.parse(JSON.parse(await readFile(join(folder, IMAGE_FILES.record), 'utf8')));
    if (id !== expectedId) throw new Error(`image.json is of the image ${id}`);
    const paths = {
      rootDisk: join(folder, IMAGE_FILES.rootDisk),
      vmlinuz: join(folder, IMAGE_FILES.vmlinuz),
      vmlinux: join(folder, IMAGE_FILES.vmlinux),
      initrd: join(folder, IMAGE_FILES.initrd),
    };
    let allocated = 0;
    for (const part of ['rootDisk', 'vmlinuz', 'vmlinux', 'initrd'] as const) {
      const { size, blocks } = await stat(paths[part]);
      if (size !== bytes[part]) throw new Error(`${paths[part]} has ${size} bytes instead of ${bytes[part]}`);
      // st_blocks counts 512 bytes whatever the file system's block is (stat(2)).
      if (part === 'rootDisk') allocated = blocks * 512;
    }
    return {
      id: parseImageId(id),
      name: rest.name,
      kernelRelease: rest.kernelRelease,
      kernelParameters: rest.kernelParameters,
      createdAt: rest.createdAt,
      ...(rest.config && { config: rest.config }),
      ...paths,
      diskBytes: bytes.rootDisk,
      diskAllocatedBytes: allocated,
    };
  } catch (error) {
    throw new Corrupt(`the image in ${folder} is damaged: ${messageOf(error)}`, {
      reason: 'IMAGE_CORRUPT',
      metadata: { image: expectedId },
      cause: error,
    });
  }
}
