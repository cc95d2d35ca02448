import { rename, rm } from 'node:fs/promises';
import { mintLayerName, type LayerName } from '../domain/layer-name.js';
import { syncDirectory } from '../os/durable-file.js';
import { allocatedBytes } from '../os/storage-use.js';
import type { CapturePaths } from '../paths.js';
import type { LayerMerge } from '../ports/disk-storage.js';
import { layersOf } from './disk-layers.js';
import { layersToMerge } from './layer-policy.js';
import { createMerged } from './merged-layer.js';

/**
 * The newest layers of a disk are made one, never some in the middle: what is to stand on the new file is then the disk's own
 * file, the only one whose header may change, because no other folder has it. Layers themselves may be anybody's.
 *
 * The disk may get more layers meanwhile. They are merged as well, into a file that stands on the one before, until the disk's
 * own file is all that is left above. Each time that takes a fraction of what it took before.
 */
export class NewestLayers implements LayerMerge {
  /** What was made, lowest first. Not yet under these names: {@link settleDisk} removes layers that no disk stands on. */
  private readonly made: LayerName[] = [];

  private constructor(
    private readonly folder: CapturePaths,
    private readonly turn: () => Promise<void>,
    /** The newest of those that were merged: the content above the image is the same down from here. */
    private newest: LayerName,
  ) {}

  /** @returns undefined where the disk has few layers enough */
  static async begin(
    folder: CapturePaths,
    turn: () => Promise<void>,
    signal?: AbortSignal,
  ): Promise<NewestLayers | undefined> {
    const layers = layersOf(folder);
    const bytes = await Promise.all(layers.map((name) => allocatedBytes(folder.layer(name))));
    const due = layers.slice(0, layersToMerge(bytes));
    const [newest] = due;
    if (newest === undefined) return undefined;
    const merge = new NewestLayers(folder, turn, newest);
    await merge.add(due, signal);
    return merge;
  }

  /** A layer's name says what is in it and below it, whatever has become of the disk: it was set back to a snapshot, maybe. */
  progress(): 'whole' | 'behind' | 'void' {
    const above = layersOf(this.folder).indexOf(this.newest);
    if (above < 0) return 'void';
    return above === 0 ? 'whole' : 'behind';
  }

  async catchUp(signal?: AbortSignal): Promise<void> {
    const layers = layersOf(this.folder);
    const above = layers.slice(0, Math.max(0, layers.indexOf(this.newest)));
    const [newest] = above;
    if (newest === undefined) return;
    await this.add(above, signal);
    this.newest = newest;
  }

  /** Through to the platter before a header names them. */
  async publish(): Promise<string> {
    for (const name of this.made) await rename(this.unfinished(name), this.folder.layer(name));
    await syncDirectory(this.folder.root);
    return this.folder.layer(this.last());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const name of this.made) await rm(this.unfinished(name), { force: true });
  }

  /** Daemons remove such names at their start. */
  private unfinished(name: LayerName): string {
    return `${this.folder.layer(name)}.merged.tmp`;
  }

  private last(): LayerName {
    const last = this.made.at(-1);
    if (last === undefined) throw new Error('no layers were merged');
    return last;
  }

  /** @param layers from the newest down, right above those merged before */
  private async add(layers: readonly LayerName[], signal: AbortSignal | undefined): Promise<void> {
    const name = mintLayerName();
    const backing = this.made.at(-1);
    const { folder, turn } = this;
    const files = layers.map((layer) => folder.layer(layer));
    const merged = { files, turn, ...(backing === undefined ? {} : { backing }) };
    try {
      await createMerged(this.unfinished(name), merged, signal);
    } catch (error) {
      await rm(this.unfinished(name), { force: true });
      throw error;
    }
    this.made.push(name);
  }
}
