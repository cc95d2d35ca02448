import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Conflict, errnoOf } from '@offshoot/shared/errors.js';
import { assertFreeBytes } from '../os/disk-space.js';
import { syncDirectory } from '../os/durable-file.js';
import { unlessMissing } from '../os/unless-missing.js';
import { unlessLocked, withBuildLock } from './build-lock.js';
import { holdImage } from './image-lock.js';
import { isUnfinishedRecord, readImage, renameImage } from './image-record.js';
import { SharedTask } from './shared-task.js';
import type { Logger } from 'pino';
import { parseImageId, type ImageId } from '../domain/ids.js';
import type { Image, ImportStep } from '../ports/image-store.js';

/** How an image is made. */
export interface ImageBuild {
  readonly id: ImageId;
  readonly name: string;
  /** In order. */
  readonly steps: readonly string[];
  /** Bytes it needs for itself, at least, for the time it takes. */
  readonly workingBytes: number;
  /** In a folder of its own; returns the one in it that is the image, synced. */
  build(staging: string, onStep: (step: string) => void, signal: AbortSignal): Promise<string>;
}

const IMAGE_ID = /^[0-9a-f]{64}$/;
const STAGING_PREFIX = '.staging-';

/** Makes images in one directory, each once, whoever asks in whatever process; a broken one never gets its name. */
export class ImageBuilds {
  private readonly tasks = new Map<string, SharedTask<ImportStep, Image>>();

  constructor(
    private readonly directory: string,
    private readonly logger: Logger,
  ) {}

  /** The image if it is there and whole. */
  private async find(id: ImageId): Promise<Image | undefined> {
    if (!(await this.folders()).includes(id)) return undefined;
    try {
      return await readImage(join(this.directory, id), id);
    } catch (error) {
      this.logger.warn({ err: error, image: id }, 'image is damaged and is built anew');
      return undefined;
    }
  }

  /** Those that are whole, newest first. */
  async list(): Promise<readonly Image[]> {
    const images: Image[] = [];
    for (const name of await this.ids()) {
      try {
        images.push(await readImage(join(this.directory, name), name));
      } catch (error) {
        this.logger.warn({ err: error, image: name }, 'image left out');
      }
    }
    return images.sort((one, other) => other.createdAt.localeCompare(one.createdAt));
  }

  /** Of all images, those among them that cannot be used: damaged, or of another version's layout. */
  async ids(): Promise<readonly ImageId[]> {
    return (await this.folders()).filter((name) => IMAGE_ID.test(name)).map(parseImageId);
  }

  /** Finds the image, waits for whoever builds it, or builds it. It then is the newest of its name. */
  async run(build: ImageBuild, onStep: (step: ImportStep) => void, signal?: AbortSignal): Promise<Image> {
    const present = await this.find(build.id);
    if (present !== undefined && (await this.isNewest(build))) return present;
    // Whoever wants another name for the same has to wait for the first to have its own.
    const key = `${build.id} ${build.name}`;
    let task = this.tasks.get(key);
    while (task?.isAborted === true) {
      await task.settled();
      task = this.tasks.get(key);
    }
    if (task === undefined) {
      task = new SharedTask<ImportStep, Image>(
        async (report, taskSignal) =>
          withBuildLock(this.lock, taskSignal, () => this.runLocked(build, report, taskSignal)),
        () => this.tasks.delete(key),
      );
      this.tasks.set(key, task);
    }
    return task.join(onStep, signal);
  }

  /** Removes what builds that were cut short have left, unless somebody builds now, who does it himself. */
  async settle(): Promise<void> {
    if ((await this.unfinished()).length > 0) await unlessLocked(this.lock, () => this.sweep());
  }

  private get lock(): string {
    return join(this.directory, '.build.lock');
  }

  private async isNewest({ id, name }: Pick<ImageBuild, 'id' | 'name'>): Promise<boolean> {
    return (await this.list()).find((image) => image.name === name)?.id === id;
  }

  private async folders(): Promise<string[]> {
    return readdir(this.directory).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return [];
      throw error;
    });
  }

  private async runLocked(build: ImageBuild, report: (step: ImportStep) => void, signal: AbortSignal): Promise<Image> {
    const { id, name, steps } = build;
    // Whoever had the lock may have built it.
    const found = await this.find(id);
    if (found === undefined) {
      await this.sweep();
      await assertFreeBytes(this.directory, build.workingBytes, 'building an image');
      const started = performance.now();
      const staging = join(this.directory, `${STAGING_PREFIX}${randomUUID()}`);
      await mkdir(staging, { mode: 0o700 });
      try {
        const onStep = (step: string): void => {
          report({ step, index: steps.indexOf(step) + 1, total: steps.length });
        };
        await this.publish(await build.build(staging, onStep, signal), id);
      } finally {
        await rm(staging, { recursive: true, force: true });
      }
      const seconds = Math.round((performance.now() - started) / 100) / 10;
      this.logger.info({ image: id, seconds }, 'image built');
      return readImage(join(this.directory, id), id);
    }
    using _hold = holdImage(join(this.directory, id));
    if (!(await this.isNewest(build))) await renameImage(join(this.directory, id), name);
    return await readImage(join(this.directory, id), id);
  }

  /** What is at the target, if anything, was found damaged: it is put aside and goes with the staging. */
  private async publish(folder: string, id: ImageId): Promise<void> {
    const target = join(this.directory, id);
    await rename(target, join(folder, '..', 'damaged')).catch(ignoreAbsent);
    try {
      await rename(folder, target);
    } catch (error) {
      if (errnoOf(error) !== 'ENOTEMPTY' && errnoOf(error) !== 'EEXIST') throw error;
      throw new Conflict(`${target} appeared while the image was built`, { reason: 'IMAGE_CONFLICT', cause: error });
    }
    await syncDirectory(this.directory);
  }

  /** To be called with the lock: what is there then was left by processes that died. */
  private async sweep(): Promise<void> {
    for (const path of await this.unfinished()) {
      this.logger.info({ path }, 'removing what an interrupted image build left');
      // A tool that such a process had started may still be writing there.
      await rm(path, { recursive: true, force: true, maxRetries: 5 });
    }
  }

  /** Folders of builds, and records of images that were being renamed: only the holder of the lock makes them. */
  private async unfinished(): Promise<string[]> {
    const staging = (await this.folders()).filter((name) => name.startsWith(STAGING_PREFIX));
    const paths = staging.map((name) => join(this.directory, name));
    for (const id of await this.ids()) {
      const names = (await unlessMissing(readdir(join(this.directory, id)))) ?? []; // deleted meanwhile
      paths.push(...names.filter(isUnfinishedRecord).map((name) => join(this.directory, id, name)));
    }
    return paths;
  }
}

const ignoreAbsent = (error: unknown): void => {
  if (errnoOf(error) !== 'ENOENT') throw error;
};
