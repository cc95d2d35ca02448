import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { InvalidInput, NotFound } from '@offshoot/shared/errors.js';
import { asCapacityIfFull } from '../os/disk-space.js';
import { ImageBuilds } from './image-builds.js';
import { DEFAULT_IMAGE, ImageImports, type ImportOptions } from './image-imports.js';
import { ImageRemoval, filesOf, type RemovableImage } from './image-removal.js';
import { ImageUses } from './image-uses.js';
import { abortedBy } from './tool.js';
import type { Logger } from 'pino';
import type { ImageId } from '../domain/ids.js';
import type { Image, ImageStore, ImageUsage, ImageUsers, ImportOrder, ImportStep } from '../ports/image-store.js';

export interface LocalImageStoreOptions extends ImportOptions {
  /** Finished images, one folder each; made when missing. */
  readonly imagesDirectory: string;
  /** This daemon's, by which those that share the images know it. */
  readonly stateDirectory: string;
  /** What images may take on the disk together; zero: as much as they like. */
  readonly maxBytes: number;
  /** What this daemon has of an image; at most `limit` of each. Synchronous. */
  readonly ownUsersOf: (image: ImageId, limit?: number) => Omit<ImageUsers, 'daemons'>;
  /** What storages keep of images, which goes with them. */
  readonly disks: ImageDisks;
  readonly logger: Logger;
}

/** As DiskStorages has it. */
export interface ImageDisks {
  forgetImage(image: ImageId): Promise<void>;
  sweepImages(kept: ReadonlySet<ImageId>): Promise<readonly string[]>;
}

/** Shortest part of an id that is taken for one. */
const MIN_PREFIX = 6;
/** Of images, as of instances: one label of a host's name, but for dots and underscores. */
const NAME = /^[a-z0-9][a-z0-9._-]{0,62}$/;

/** Images in folders of one directory, made on this machine. */
export class LocalImageStore implements ImageStore {
  private readonly builds: ImageBuilds;
  private readonly imports: ImageImports;
  private readonly uses: ImageUses;
  private readonly removal: ImageRemoval;
  /** Imports that are not over, whose images nobody has had time to use: when each began, and what it found. */
  private readonly underWay = new Map<ImportOrder, { readonly since: string; found?: ImageId }>();

  constructor(private readonly options: LocalImageStoreOptions) {
    this.builds = new ImageBuilds(options.imagesDirectory, options.logger);
    this.imports = new ImageImports(options, this.builds);
    this.uses = new ImageUses(options.imagesDirectory, options.stateDirectory);
    this.removal = new ImageRemoval({
      directory: options.imagesDirectory,
      maxBytes: options.maxBytes,
      usersOf: (image) => this.usersOf(image),
      lastUse: (image) => this.uses.lastUse(image),
      forgetDisks: (image) => options.disks.forgetImage(image),
      logger: options.logger,
    });
  }

  async import(
    order: ImportOrder,
    onStep: (step: ImportStep) => void,
    signal: AbortSignal = new AbortController().signal,
  ): Promise<Image> {
    assertName(order.source, order.name);
    const own: { readonly since: string; found?: ImageId } = { since: new Date().toISOString() };
    this.underWay.set(order, own);
    try {
      signal.throwIfAborted();
      for (const folder of [this.options.imagesDirectory, this.options.cacheDirectory])
        await mkdir(folder, { recursive: true, mode: 0o700 });
      const image = await this.find(order, onStep, signal);
      own.found = image.id;
      await this.makeRoom();
      return image;
    } catch (error) {
      if (signal.aborted) throw abortedBy(signal);
      throw asCapacityIfFull(error);
    } finally {
      this.underWay.delete(order);
    }
  }

  private find({ source, name }: ImportOrder, onStep: (step: ImportStep) => void, signal: AbortSignal): Promise<Image> {
    if (source === DEFAULT_IMAGE) return this.imports.default(onStep, signal);
    return this.imports.from(source, name ?? '', onStep, signal);
  }

  /** The image is there and good, whatever comes of this. */
  private async makeRoom(): Promise<void> {
    try {
      const isFresh = ({ id, createdAt }: RemovableImage): boolean =>
        [...this.underWay.values()].some(({ since, found }) => found === id || createdAt >= since);
      const listed = await this.list();
      const unusable = (await this.builds.ids()).filter((id) => !listed.some((image) => image.id === id)).map(nameless);
      await this.removal.evict([...unusable, ...listed], isFresh);
    } catch (error) {
      this.options.logger.error({ err: error }, 'no room could be made for images');
    }
  }

  list(): Promise<readonly Image[]> {
    return this.builds.list();
  }

  usageOf(image: ImageId): ImageUsage {
    const files = filesOf(join(this.options.imagesDirectory, image));
    return {
      users: this.usersOf(image),
      lastUse: this.uses.lastUse(image),
      allocatedBytes: [...files.values()].reduce((sum, bytes) => sum + bytes, 0),
    };
  }

  use(image: ImageId): void {
    this.uses.note(image);
  }

  release(image: ImageId): void {
    try {
      if (!this.isUsedHere(image)) this.uses.forget(image);
    } catch (error) {
      this.options.logger.warn({ err: error, image }, 'an image that is not used still looks so to other daemons');
    }
  }

  async resolveToDelete(reference: string): Promise<RemovableImage> {
    // One that cannot be used is in no list, and has nothing but its id.
    const id = (await this.builds.ids()).find((each) => each === reference);
    if (id === undefined) return this.resolve(reference);
    return (await this.list()).find((image) => image.id === id) ?? nameless(id);
  }

  async isThere(image: ImageId): Promise<boolean> {
    try {
      return (await this.builds.ids()).includes(image);
    } catch (error) {
      this.options.logger.error({ err: error, image }, 'an image may be there or not');
      return true;
    }
  }

  delete(image: Pick<Image, 'id' | 'name'>): Promise<void> {
    return this.removal.remove(image);
  }

  async emptyTrash(): Promise<void> {
    await this.attempt('deleted images still take room', () => this.removal.emptyTrash());
  }

  async settle(): Promise<void> {
    await this.emptyTrash();
    await this.attempt('builds that were cut short still take room', () => this.builds.settle());
    await this.attempt('images may look used that are not, or the other way round', async () => {
      this.uses.settle(await this.builds.ids(), (image) => this.isUsedHere(image));
    });
    await this.attempt('disks that are kept of images that are gone still take room', async () => {
      const removed = await this.options.disks.sweepImages(new Set(await this.builds.ids()));
      if (removed.length > 0) this.options.logger.warn({ removed }, 'removed what was kept of images that are gone');
    });
  }

  /** What cannot be tidied now is by a later start, and keeps nothing else from being tidied. */
  private async attempt(otherwise: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.options.logger.error({ err: error }, otherwise);
    }
  }

  private isUsedHere(image: ImageId): boolean {
    const { instances, snapshots } = this.options.ownUsersOf(image, 1);
    return instances.length + snapshots.length > 0;
  }

  private usersOf(image: ImageId): ImageUsers {
    return { ...this.options.ownUsersOf(image), daemons: this.uses.others(image) };
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
}

/** Goes before all others. */
const nameless = (id: ImageId): RemovableImage => ({ id, name: 'that cannot be used', createdAt: '' });

function assertName(source: string, name: string | undefined): void {
  if (source === DEFAULT_IMAGE) {
    if (name === undefined || name === DEFAULT_IMAGE) return;
    throw InvalidInput.field(
      'name',
      `of the default image is ${JSON.stringify(DEFAULT_IMAGE)}, got ${JSON.stringify(name)}`,
    );
  }
  if (name === undefined || !NAME.test(name) || name === DEFAULT_IMAGE)
    throw InvalidInput.field(
      'name',
      `must be 1 to 63 of a-z, 0-9, ".", "_" and "-", beginning with a letter or digit, and not "default"; got ${JSON.stringify(name ?? '')}`,
    );
}
