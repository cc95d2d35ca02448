import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Conflict, InvalidInput, InvalidState, NotFound, errnoOf } from '@offshoot/shared/errors.js';
import { asCapacityIfFull, assertFreeBytes } from '../os/disk-space.js';
import { syncDirectory } from '../os/durable-file.js';
import { AptPackageSource } from './apt-package-source.js';
import { withBuildLock } from './build-lock.js';
import { BUILD_STEPS, buildDefaultImage } from './default-image-build.js';
import { detectDistribution } from './distribution.js';
import { gatherInputs } from './image-inputs.js';
import { readImage } from './image-record.js';
import { SharedTask } from './shared-task.js';
import { abortedBy } from './tool.js';
import type { Logger } from 'pino';
import type { ImageId } from '../domain/ids.js';
import type { Image, ImageStore, ImportStep } from '../ports/image-store.js';
import type { BuildStep } from './default-image-build.js';
import type { ImageInputs, InputOptions } from './image-inputs.js';
import type { PackageSource } from './package-source.js';

export interface LocalImageStoreOptions {
  /** Finished images, one folder each; made when missing. */
  readonly imagesDirectory: string;
  /** Downloaded packages and remembered digests; may be emptied at any time. Made when missing. */
  readonly cacheDirectory: string;
  /** The repository's `images/` folder. */
  readonly assetsDirectory: string;
  /** Folder that becomes /opt/offshoot in the guest. */
  readonly agentBundle: string;
  readonly logger: Logger;
  /** This machine's apt unless given. */
  readonly packages?: PackageSource;
  /** os-release(5) to go by, /etc/os-release unless given. */
  readonly osRelease?: string;
  /** Static busybox to prefer to the package's, /bin/busybox unless given. */
  readonly busybox?: string;
}

const DEFAULT_IMAGE = 'default';
const IMAGE_ID = /^[0-9a-f]{64}$/;
const STAGING_PREFIX = '.staging-';
/** Shortest part of an id that is taken for one. */
const MIN_PREFIX = 6;
/** An unpacked Debian kernel has 110 MB, Ubuntu's up to 200; the guest's files 100 MB, twice. */
const WORKING_BYTES = 600 * 2 ** 20;

/** Images in folders of one directory, made on this machine. */
export class LocalImageStore implements ImageStore {
  private readonly builds = new Map<ImageId, SharedTask<ImportStep, Image>>();
  private readonly packages: PackageSource;

  constructor(private readonly options: LocalImageStoreOptions) {
    this.packages = options.packages ?? new AptPackageSource(options.cacheDirectory);
  }

  async import(source: string, onStep: (step: ImportStep) => void, signal?: AbortSignal): Promise<Image> {
    if (source !== DEFAULT_IMAGE)
      throw InvalidInput.field(
        'source',
        `must be ${JSON.stringify(DEFAULT_IMAGE)}, the only source there is; got ${JSON.stringify(source)}`,
        'IMAGE_SOURCE_UNKNOWN',
      );
    try {
      signal?.throwIfAborted();
      for (const folder of [this.options.imagesDirectory, this.options.cacheDirectory])
        await mkdir(folder, { recursive: true, mode: 0o700 });
      const inputs = await gatherInputs(await this.inputOptions(), signal);
      return (await this.findBuilt(inputs.id)) ?? (await this.join(inputs, onStep, signal));
    } catch (error) {
      if (signal?.aborted === true) throw abortedBy(signal);
      throw asCapacityIfFull(error);
    }
  }

  async list(): Promise<readonly Image[]> {
    const images: Image[] = [];
    for (const name of await this.folders()) {
      if (!IMAGE_ID.test(name)) continue;
      try {
        images.push(await readImage(join(this.options.imagesDirectory, name), name));
      } catch (error) {
        this.options.logger.warn({ err: error, image: name }, 'image left out');
      }
    }
    return images.sort((one, other) => other.createdAt.localeCompare(one.createdAt));
  }

  async resolve(reference: string): Promise<Image> {
    const images = await this.list();
    const exact = images.find(({ id }) => id === reference) ?? images.find(({ name }) => name === reference);
    if (exact !== undefined) return exact;
    const isPrefix = reference.length >= MIN_PREFIX && /^[0-9a-f]+$/.test(reference);
    const [match, second] = isPrefix ? images.filter(({ id }) => id.startsWith(reference)) : [];
    if (second !== undefined)
      throw InvalidInput.field(
        'image',
        `${reference} is the beginning of several image ids: give more of it`,
        'AMBIGUOUS_ID',
      );
    if (match !== undefined) return match;
    const known = images.map(({ name, id }) => `${name} (${id.slice(0, 12)})`).join(', ');
    const hint =
      reference === DEFAULT_IMAGE
        ? 'build it with: offshoot image build-default'
        : known === ''
          ? 'there are no images yet; build one with: offshoot image build-default'
          : `there are: ${known}`;
    throw new NotFound(`there is no image ${JSON.stringify(reference)}; ${hint}`, {
      reason: 'IMAGE_NOT_FOUND',
      metadata: { image: reference, known: images.map(({ id }) => id).join(',') },
    });
  }

  private async join(inputs: ImageInputs, onStep: (step: ImportStep) => void, signal?: AbortSignal): Promise<Image> {
    let task = this.builds.get(inputs.id);
    while (task?.isAborted === true) {
      await task.settled();
      task = this.builds.get(inputs.id);
    }
    if (task === undefined) {
      task = new SharedTask<ImportStep, Image>(
        async (report, buildSignal) => this.build(inputs, report, buildSignal),
        () => this.builds.delete(inputs.id),
      );
      this.builds.set(inputs.id, task);
    }
    return task.join(onStep, signal);
  }

  private async build(inputs: ImageInputs, report: (step: ImportStep) => void, signal: AbortSignal): Promise<Image> {
    return withBuildLock(
      join(this.options.imagesDirectory, '.build.lock'),
      signal,
      // Whoever had the lock may have built it.
      async () => (await this.findBuilt(inputs.id)) ?? (await this.buildLocked(inputs, report, signal)),
    );
  }

  private async buildLocked(
    inputs: ImageInputs,
    report: (step: ImportStep) => void,
    signal: AbortSignal,
  ): Promise<Image> {
    const { imagesDirectory, agentBundle, logger } = this.options;
    await this.sweep();
    await assertFreeBytes(imagesDirectory, WORKING_BYTES, 'building an image');
    const started = performance.now();
    const staging = join(imagesDirectory, `${STAGING_PREFIX}${randomUUID()}`);
    await mkdir(staging, { mode: 0o700 });
    try {
      const assets = join(this.options.assetsDirectory, DEFAULT_IMAGE);
      const onStep = (step: BuildStep): void => {
        report({ step, index: BUILD_STEPS.indexOf(step) + 1, total: BUILD_STEPS.length });
      };
      const folder = await buildDefaultImage(
        { inputs, packages: this.packages, agentBundle, assets, name: DEFAULT_IMAGE },
        staging,
        onStep,
        signal,
      );
      if ((await gatherInputs(await this.inputOptions(), signal)).id !== inputs.id)
        throw new InvalidState('agent, Node or packages were replaced while the image was built from them: try again', {
          reason: 'IMAGE_INPUTS_CHANGED',
          metadata: { image: inputs.id },
        });
      await this.publish(folder, inputs.id);
    } finally {
      await rm(staging, { recursive: true, force: true });
    }
    const seconds = Math.round((performance.now() - started) / 100) / 10;
    logger.info({ image: inputs.id, seconds }, 'image built');
    return await readImage(join(imagesDirectory, inputs.id), inputs.id);
  }

  /** With the lock held. What is at the target, if anything, was found damaged: it is put aside and goes with the staging. */
  private async publish(folder: string, id: ImageId): Promise<void> {
    const { imagesDirectory } = this.options;
    const target = join(imagesDirectory, id);
    await rename(target, join(folder, '..', 'damaged')).catch(ignoreAbsent);
    try {
      await rename(folder, target);
    } catch (error) {
      if (errnoOf(error) !== 'ENOTEMPTY' && errnoOf(error) !== 'EEXIST') throw error;
      throw new Conflict(`${target} appeared while the image was built`, { reason: 'IMAGE_CONFLICT', cause: error });
    }
    await syncDirectory(imagesDirectory);
  }

  /** Only the holder of the lock has a staging folder: those there now were left by processes that died. */
  private async sweep(): Promise<void> {
    for (const name of await this.folders())
      if (name.startsWith(STAGING_PREFIX)) {
        this.options.logger.info({ folder: name }, 'removing what an interrupted image build left');
        await rm(join(this.options.imagesDirectory, name), { recursive: true, force: true });
      }
  }

  private async findBuilt(id: ImageId): Promise<Image | undefined> {
    if (!(await this.folders()).includes(id)) return undefined;
    try {
      return await readImage(join(this.options.imagesDirectory, id), id);
    } catch (error) {
      this.options.logger.warn({ err: error, image: id }, 'image is damaged and is built anew');
      return undefined;
    }
  }

  private async folders(): Promise<string[]> {
    return readdir(this.options.imagesDirectory).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return [];
      throw error;
    });
  }

  private async inputOptions(): Promise<InputOptions> {
    const { cacheDirectory, agentBundle, assetsDirectory, osRelease, busybox } = this.options;
    return {
      packages: this.packages,
      distribution: await detectDistribution(osRelease),
      agentBundle,
      assets: join(assetsDirectory, DEFAULT_IMAGE),
      digestMemory: join(cacheDirectory, 'digests.json'),
      node: process.execPath,
      busybox: busybox ?? '/bin/busybox',
    };
  }
}

const ignoreAbsent = (error: unknown): void => {
  if (errnoOf(error) !== 'ENOENT') throw error;
};
