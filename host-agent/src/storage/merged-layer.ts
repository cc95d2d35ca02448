import { dirname } from 'node:path';
import { Corrupt } from '@offshoot/shared/errors.js';
import { isLayerName } from '../domain/layer-name.js';
import { assertFreeBytes } from '../os/disk-space.js';
import { CLUSTERS_PER_TABLE, Qcow2Clusters } from './qcow2-clusters.js';
import { CLUSTER_BYTES, readQcow2Header } from './qcow2-header.js';
import { createOverlay, type OverlayContent } from './qcow2-overlay.js';

/** Stays free when layers are merged, for what somebody waits for. */
const MARGIN_BYTES = 256 * 2 ** 20;

export interface MergedLayer {
  /** Files that stand on each other, from the newest down; only read, and not again once this has been made of them. */
  readonly files: readonly string[];
  /** What it stands on in place of what the lowest of them stands on, by its header: of the same content, in the same folder. */
  readonly backing?: string;
  /** Awaited before each piece that is read or copied, of 1 MiB at most. */
  readonly turn?: () => Promise<void>;
}

/**
 * Makes one file of several: of each cluster what the newest file says of it, zeros included, which hide what lies below. A
 * cluster none of them has is not in it either. Neither `qemu-img convert` nor `rebase` does that: the one takes over all that
 * lies below or, given `-B`, leaves zeros out; the other changes a file in its place. Through to the platter.
 * @param path of the new file
 * @throws Capacity when it would fill the disk, Corrupt when one of the files is not of the kind that overlays are
 */
export async function createMerged(path: string, merged: MergedLayer, signal?: AbortSignal): Promise<void> {
  const { files, turn } = merged;
  const lowest = files.at(-1);
  const backing = merged.backing ?? (lowest === undefined ? undefined : readQcow2Header(lowest).backing);
  const layers: Qcow2Clusters[] = [];
  try {
    for (const file of files) layers.push(await Qcow2Clusters.open(file));
    const [top] = layers;
    // All layers of a disk have its size: what lies behind a shorter one's end would be zeros, and come to light.
    if (
      top === undefined ||
      backing === undefined ||
      layers.some(({ virtualBytes }) => virtualBytes !== top.virtualBytes)
    )
      throw new Corrupt(`${files.join(', ')} are no layers of one disk`, {
        reason: 'DISK_MALFORMED',
        metadata: { path },
      });
    const content = await contentOf(layers, turn, signal);
    await assertFreeBytes(dirname(path), content.bytes + MARGIN_BYTES, 'merging layers of a disk');
    const backingFormat = isLayerName(backing) ? 'qcow2' : 'raw';
    await createOverlay(path, { virtualBytes: top.virtualBytes, backing, backingFormat, content }, signal);
  } finally {
    for (const layer of layers) await layer[Symbol.asyncDispose]();
  }
}

/** @param layers from the newest down @returns also how many bytes there are to copy */
async function contentOf(
  layers: readonly Qcow2Clusters[],
  turn: MergedLayer['turn'],
  signal: AbortSignal | undefined,
): Promise<OverlayContent & { readonly bytes: number }> {
  const clusters: number[] = [];
  /** Of each cluster: number of the layer that has its data, and where; no layer where it reads as zeros. */
  const [owners, offsets]: [number[], number[]] = [[], []];
  for (let n = 0; n < Math.max(...layers.map(({ tables }) => tables)); n++) {
    await turn?.();
    signal?.throwIfAborted();
    const tables = [];
    for (const [owner, layer] of layers.entries()) {
      const table = await layer.table(n);
      if (table !== undefined) tables.push({ owner, table });
    }
    if (tables.length === 0) continue;
    for (let cluster = 0; cluster < CLUSTERS_PER_TABLE; cluster++) {
      for (const { owner, table } of tables) {
        const state = table.state(cluster);
        if (state === 'below') continue;
        clusters.push(n * CLUSTERS_PER_TABLE + cluster);
        owners.push(state === 'zeros' ? -1 : owner);
        offsets.push(state === 'zeros' ? 0 : state.offset);
        break;
      }
    }
  }
  return {
    clusters,
    place: (i) => {
      const file = layers[owners[i] ?? -1]?.file;
      return file && { file, offset: offsets[i] ?? 0 };
    },
    ...(turn === undefined ? {} : { turn }),
    bytes: owners.filter((owner) => owner >= 0).length * CLUSTER_BYTES,
  };
}
