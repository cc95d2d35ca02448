import { randomUUID } from 'node:crypto';
import { renameSync, statSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { InvalidState, OffshootError } from '@offshoot/shared/errors.js';
import { syncDirectory } from '../os/durable-file.js';
import { unlessMissing } from '../os/unless-missing.js';
import type { Logger } from 'pino';
import type { ImageId } from '../domain/ids.js';
import type { Image, ImageUsers } from '../ports/image-store.js';
import { inEvictionOrder, takenBy, type Evictable } from './eviction-order.js';
import { claimImage } from './image-lock.js';
import { IMAGE_FILES } from './image-record.js';

const TRASH_PREFIX = '.trash-';
/** As many users as an error names. */
const NAMED = 5;

/** What has to be known of an image to remove it. */
export type RemovableImage = Pick<Image, 'id' | 'name' | 'createdAt'>;

export interface RemovalParts {
  readonly directory: string;
  /** Zero: no limit. */
  readonly maxBytes: number;
  /** Synchronous. */
  readonly usersOf: (image: ImageId) => ImageUsers;
  readonly lastUse: (image: ImageId) => string | undefined;
  /** Removes what disk storages keep of an image that no disk is of; refuses where one is. */
  readonly forgetDisks: (image: ImageId) => Promise<void>;
  readonly logger: Logger;
}

/**
 * Takes images away that nobody uses. An image is renamed first, so that it is there whole or not at all, whenever the daemon
 * ends, and removed under the new name, by the next daemon at the latest.
 */
export class ImageRemoval {
  constructor(private readonly parts: RemovalParts) {}

  /**
   * The image cannot be had any more after this; {@link emptyTrash} frees its room.
   * @throws NotFound, InvalidState IMAGE_IN_USE naming who uses it, Conflict IMAGE_BUSY while something is made of it
   */
  async remove({ id, name }: Pick<Image, 'id' | 'name'>): Promise<void> {
    const { directory, usersOf, forgetDisks } = this.parts;
    const folder = join(directory, id);
    assertUnused(id, name, usersOf(id)); // says who uses it also where somebody is just about to
    using _claim = claimImage(folder);
    assertUnused(id, name, usersOf(id));
    await forgetDisks(id);
    renameSync(folder, join(directory, `${TRASH_PREFIX}${randomUUID()}`));
    await syncDirectory(directory);
  }

  async emptyTrash(): Promise<void> {
    const { directory } = this.parts;
    for (const name of (await unlessMissing(readdir(directory))) ?? [])
      if (name.startsWith(TRASH_PREFIX)) await rm(join(directory, name), { recursive: true, force: true });
  }

  /**
   * Removes images nobody uses, those that were used longest ago first, until the others fit.
   * @param isKept those that stay whoever uses them
   */
  async evict(images: readonly RemovableImage[], isKept: (image: RemovableImage) => boolean): Promise<void> {
    const { maxBytes, logger } = this.parts;
    if (maxBytes === 0) return;
    let left = images.map((image) => ({ image, ...this.evictable(image) }));
    for (const candidate of inEvictionOrder(left)) {
      if (takenBy(left) <= maxBytes) break;
      const { image, lastUse } = candidate;
      if (isKept(image)) continue;
      try {
        await this.remove(image);
        logger.info({ image: image.id, name: image.name, lastUse }, 'image evicted: images.max_bytes was exceeded');
      } catch (error) {
        if (!(error instanceof OffshootError)) throw error;
        if (error.kind !== 'NotFound') continue; // in use
      }
      left = left.filter((each) => each !== candidate);
    }
    const bytes = takenBy(left);
    if (bytes > maxBytes)
      logger.warn({ bytes, maxBytes }, 'images take more than images.max_bytes, and are all needed');
    await this.emptyTrash();
  }

  private evictable({ id, createdAt }: RemovableImage): Evictable {
    return {
      id,
      lastUse: this.parts.lastUse(id) ?? createdAt,
      files: filesOf(join(this.parts.directory, id)),
    };
  }
}

/** Bytes that an image's files take on the disk, by inode; none where it is gone. */
export function filesOf(folder: string): ReadonlyMap<string, number> {
  const files = new Map<string, number>();
  for (const name of Object.values(IMAGE_FILES)) {
    const stats = statSync(join(folder, name), { throwIfNoEntry: false });
    // st_blocks counts 512 bytes whatever the file system's block is (stat(2)).
    if (stats !== undefined) files.set(`${String(stats.dev)}:${String(stats.ino)}`, stats.blocks * 512);
  }
  return files;
}

function assertUnused(id: ImageId, name: string, { instances, snapshots, daemons }: ImageUsers): void {
  const users = [
    ...named('instance', instances),
    ...named('snapshot', snapshots),
    ...daemons.map((directory) => `what the daemon with the state directory ${directory} has`),
  ];
  if (users.length === 0) return;
  throw new InvalidState(`the image ${name} (${id.slice(0, 12)}) is in use by ${users.join(', ')}: delete that first`, {
    reason: 'IMAGE_IN_USE',
    metadata: {
      image: id,
      instances: instances.join(','),
      snapshots: snapshots.join(','),
      state_directories: daemons.join(','),
    },
  });
}

function named(noun: string, names: readonly string[]): string[] {
  if (names.length === 0) return [];
  const more = names.length > NAMED ? ` and ${String(names.length - NAMED)} more` : '';
  return [`the ${noun}${names.length > 1 ? 's' : ''} ${names.slice(0, NAMED).join(', ')}${more}`];
}
