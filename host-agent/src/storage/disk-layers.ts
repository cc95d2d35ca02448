import { existsSync } from 'node:fs';
import { link, readdir, rename, rm, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { Corrupt, errnoOf } from '@offshoot/shared/errors.js';
import { isLayerName, mintLayerName, type LayerName } from '../domain/layer-name.js';
import type { CapturePaths } from '../paths.js';
import { flushFile } from '../os/flush-file.js';
import { createMerged } from './merged-layer.js';
import { readQcow2Header } from './qcow2-header.js';
import { createOverlay } from './qcow2-overlay.js';

/**
 * A layer comes about in steps between which daemon, VMM or both may end; see {@link settleDisk} for what is then made of
 * them.
 *
 * 1. The file that takes the writes, `disk.qcow2`, gets a second name, a layer's.
 * 2. A new empty file under a layer's name of its own is put on that name.
 * 3. The VMM begins to write to the new file. It keeps that file's name for good: QEMU opens a file again by the name it knows
 *    when it makes it read-only, so `disk.qcow2` must lead to the old file until this step is done, and no file may ever
 *    bear a name that another one had.
 * 4. `disk.qcow2` leads to the new file, which has both names from then on.
 *
 * Names are not made durable: the guest's next flush is one of the new file, and carries the renaming before it along (journals
 * keep that order). For the time until then a power cut is as in {@link settleDisk}.
 */
export async function prepareLayer(folder: CapturePaths): Promise<string> {
  const { virtualBytes } = readQcow2Header(folder.disk('qcow2'));
  let base = await otherNameOfDisk(folder);
  if (base === undefined) {
    base = mintLayerName();
    await link(folder.disk('qcow2'), folder.layer(base));
  }
  const top = folder.layer(mintLayerName());
  await createOverlay(`${top}.tmp`, { virtualBytes, backing: base, backingFormat: 'qcow2' });
  await rename(`${top}.tmp`, top);
  return top;
}

/**
 * With the VMM's word for it, step 4 is done when step 3 was, and both files are removed or lose their second name when it was
 * not. Of a disk no VMM has open nobody can tell whether step 3 was done, and nobody need to: an empty layer changes
 * nothing, so the top is taken wherever there is one.
 */
export async function settleDisk(folder: CapturePaths, openFile?: string): Promise<void> {
  const present = (await readdir(folder.root)).filter(isLayerName);
  if (present.length === 0) return;
  const top = openFile === undefined ? await topOnDisk(folder, present) : layerOf(openFile);
  if (top !== undefined && !(await isDisk(folder, top))) {
    const next = `${folder.disk('qcow2')}.tmp`;
    await rm(next, { force: true });
    await link(folder.layer(top), next);
    await rename(next, folder.disk('qcow2'));
  }
  const needed = new Set([...layersOf(folder), ...(openFile === undefined ? [] : [top])]);
  const left = present.filter((name) => !needed.has(name));
  if (left.length === 0) return;
  // The header that says so may be a moment old, and what it said before would be on the disk after a power cut.
  await flushFile(folder.disk('qcow2'));
  for (const name of left) await rm(folder.layer(name), { force: true });
}

/**
 * Lets the disk's own file stand on another one of the same content as what it stands on. A disk that no VMM has open: a new file
 * takes its place, in one step, because a header that is written over may be cut in two by a power cut.
 */
export async function changeBacking(folder: CapturePaths, file: string): Promise<void> {
  const next = `${folder.disk('qcow2')}.tmp`;
  await rm(next, { force: true });
  await createMerged(next, { files: [folder.disk('qcow2')], backing: basename(file) });
  await rename(next, folder.disk('qcow2'));
}

/** Layers a disk stands on, from its own file down. Synchronous, as the reading of headers. @throws Corrupt when one is missing */
export function layersOf(folder: CapturePaths): readonly LayerName[] {
  const layers: LayerName[] = [];
  for (let path = folder.disk('qcow2'); ;) {
    const { backing } = readQcow2Header(path);
    if (backing === undefined || !isLayerName(backing)) return layers;
    layers.push(backing);
    path = folder.layer(backing);
    if (!existsSync(path))
      throw new Corrupt(`the disk in ${folder.root} stands on ${backing}, which is missing`, {
        reason: 'DISK_LAYER_MISSING',
        metadata: { path },
      });
  }
}

function layerOf(openFile: string): LayerName | undefined {
  const name = basename(openFile);
  return isLayerName(name) ? name : undefined;
}

async function otherNameOfDisk(folder: CapturePaths): Promise<LayerName | undefined> {
  for (const name of await readdir(folder.root)) if (isLayerName(name) && (await isDisk(folder, name))) return name;
  return undefined;
}

/** The file that was put on the disk's own and has not taken its name. */
async function topOnDisk(folder: CapturePaths, layers: readonly LayerName[]): Promise<LayerName | undefined> {
  for (const name of layers) {
    const { backing } = readQcow2Header(folder.layer(name));
    if (backing !== undefined && isLayerName(backing) && (await isDisk(folder, backing))) return name;
  }
  return undefined;
}

async function isDisk(folder: CapturePaths, name: LayerName): Promise<boolean> {
  const inode = await inodeOf(folder.layer(name));
  return inode !== undefined && inode === (await inodeOf(folder.disk('qcow2')));
}

async function inodeOf(path: string): Promise<bigint | undefined> {
  try {
    return (await stat(path, { bigint: true })).ino;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
