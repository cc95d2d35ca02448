import { open, type FileHandle } from 'node:fs/promises';
import type { DiskFormat } from '../domain/storage-name.js';
import { MOST_NEIGHBOURS, neighbours } from './changed-clusters.js';
import { BACKING_FORMAT_EXTENSION, CLUSTER_BITS, CLUSTER_BYTES, HEADER_BYTES, MAGIC } from './qcow2-header.js';

const ENTRIES_PER_CLUSTER = CLUSTER_BYTES / 8;
/** Guest bytes for which one entry of the level 1 table stands: a level 2 table, each of whose entries is for a cluster. */
const L1_ENTRY_BYTES = ENTRIES_PER_CLUSTER * CLUSTER_BYTES;
/** Clusters for which one refcount block counts: its counts have 16 bits. */
const COUNTS_PER_CLUSTER = CLUSTER_BYTES / 2;
const ZEROS = Buffer.alloc(MOST_NEIGHBOURS * CLUSTER_BYTES);
/** In a table's entry: what it leads to is in this file once, and may be written in place. */
const COPIED = 1n << 63n;

export interface Overlay {
  /** Size the guest sees; where it is larger than the backing file, the rest reads as zeros. */
  readonly virtualBytes: number;
  /** Absolute, or a name in the disk's folder. */
  readonly backing: string;
  readonly backingFormat: DiskFormat;
  /** Clusters in which it differs from the backing file; none when left out. */
  readonly content?: OverlayContent;
}

export interface OverlayContent {
  /** Holds the whole disk as raw bytes. */
  readonly raw: string;
  /** Which clusters of it are taken over, by their number, in order. */
  readonly clusters: readonly number[];
}

/**
 * Makes a disk that stands on another one. Through to the platter: the guest may soon have everything it has flushed behind
 * it. References are counted at once, not lazily: a disk would need a repair after a kill.
 *
 * The file has, in this order: header, refcount table (one cluster, which counts for 16 TiB), refcount blocks, level 1 table,
 * level 2 tables, the content.
 */
export async function createOverlay(path: string, overlay: Overlay, signal?: AbortSignal): Promise<void> {
  const clusters = overlay.content?.clusters ?? [];
  const l1Entries = Math.ceil(overlay.virtualBytes / L1_ENTRY_BYTES);
  const l1Clusters = Math.max(1, Math.ceil(l1Entries / ENTRIES_PER_CLUSTER));
  const tables = [...new Set(clusters.map(tableOf))];
  const others = 2 + l1Clusters + tables.length + clusters.length;
  const refcountBlocks = blocksFor(others);
  const l1Table = 2 + refcountBlocks;
  const firstL2 = l1Table + l1Clusters;
  const firstData = firstL2 + tables.length;
  const total = firstData + clusters.length;

  const refcountTable = Buffer.alloc(8 * refcountBlocks);
  for (let i = 0; i < refcountBlocks; i++) refcountTable.writeBigUInt64BE(offsetOf(2 + i), 8 * i);
  const refcounts = Buffer.alloc(2 * total);
  for (let cluster = 0; cluster < total; cluster++) refcounts.writeUInt16BE(1, 2 * cluster);
  const l1 = Buffer.alloc(8 * l1Entries);
  tables.forEach((table, i) => l1.writeBigUInt64BE(offsetOf(firstL2 + i) | COPIED, 8 * table));
  const l2 = Buffer.alloc(tables.length * CLUSTER_BYTES);
  const placeOf = new Map(tables.map((table, i) => [table, i]));
  clusters.forEach((cluster, i) => {
    const entry = (placeOf.get(tableOf(cluster)) ?? 0) * ENTRIES_PER_CLUSTER + (cluster % ENTRIES_PER_CLUSTER);
    l2.writeBigUInt64BE(offsetOf(firstData + i) | COPIED, 8 * entry);
  });

  await using file = await open(path, 'wx', 0o600);
  await file.truncate(total * CLUSTER_BYTES); // what is not written is zeros
  await file.write(headerOf(overlay, l1Entries, l1Table), 0, undefined, 0);
  await file.write(refcountTable, 0, undefined, CLUSTER_BYTES);
  await file.write(refcounts, 0, undefined, 2 * CLUSTER_BYTES);
  if (overlay.content !== undefined) {
    await file.write(l1, 0, undefined, l1Table * CLUSTER_BYTES);
    await file.write(l2, 0, undefined, firstL2 * CLUSTER_BYTES);
    await copyContent(overlay.content, file, firstData, signal);
  }
  await file.datasync();
}

function headerOf({ virtualBytes, backing, backingFormat }: Overlay, l1Entries: number, l1Table: number): Buffer {
  const format = Buffer.from(backingFormat);
  const name = Buffer.from(backing);
  const extension = Buffer.alloc(8 + 8 + 8); // type and length; the format, padded; the end of extensions
  extension.writeUInt32BE(BACKING_FORMAT_EXTENSION, 0);
  extension.writeUInt32BE(format.length, 4);
  format.copy(extension, 8);

  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32BE(MAGIC, 0);
  header.writeUInt32BE(3, 4); // version
  header.writeBigUInt64BE(BigInt(HEADER_BYTES + extension.length), 8); // where the backing file's name is
  header.writeUInt32BE(name.length, 16);
  header.writeUInt32BE(CLUSTER_BITS, 20);
  header.writeBigUInt64BE(BigInt(virtualBytes), 24);
  header.writeUInt32BE(l1Entries, 36);
  header.writeBigUInt64BE(offsetOf(l1Table), 40);
  header.writeBigUInt64BE(offsetOf(1), 48); // refcount table
  header.writeUInt32BE(1, 56); // clusters of the refcount table
  header.writeUInt32BE(4, 96); // refcounts of 2^4 bits
  header.writeUInt32BE(HEADER_BYTES, 100);
  return Buffer.concat([header, extension, name]);
}

async function copyContent(
  { raw, clusters }: OverlayContent,
  file: FileHandle,
  firstData: number,
  signal?: AbortSignal,
): Promise<void> {
  await using source = await open(raw, 'r');
  let place = firstData;
  for (const { first, count } of neighbours(clusters)) {
    signal?.throwIfAborted();
    // The last one may be cut short by the end of the disk: a whole cluster is there all the same, of zeros from there on.
    const bytes = Buffer.alloc(count * CLUSTER_BYTES);
    await source.read(bytes, 0, bytes.length, first * CLUSTER_BYTES);
    if (!bytes.equals(ZEROS.subarray(0, bytes.length))) await file.write(bytes, 0, bytes.length, place * CLUSTER_BYTES);
    place += count;
  }
}

/** Refcount blocks for so many clusters and for themselves. */
function blocksFor(others: number): number {
  let blocks = 1;
  while (blocks * COUNTS_PER_CLUSTER < others + blocks) blocks += 1;
  return blocks;
}

const tableOf = (cluster: number): number => Math.floor(cluster / ENTRIES_PER_CLUSTER);
const offsetOf = (cluster: number): bigint => BigInt(cluster) * BigInt(CLUSTER_BYTES);
