import { link, mkdir, rename } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { INODE_BYTES, diskSizeFor, formatExt4, timeFor, validateExt4 } from '../ext4-disk.js';
import { IMAGE_FILES, finishImage } from '../image-record.js';
import { IMAGE_TIME, diskUuid } from '../image-identity.js';
import { fromText } from '../tar/byte-string.js';
import { applyLayer } from './apply-layer.js';
import { ContentStore } from './content-store.js';
import { addToDisk } from './disk-runtime.js';
import { setExt4Attributes } from './ext4-attributes.js';
import { RUNTIME_FILES, addRuntime } from './guest-runtime.js';
import { refused } from './image-refused.js';
import { findUser } from './image-user.js';
import { ImageTree, directory } from './image-tree.js';
import { IMPORT_LIMITS, ImportBudget } from './import-limits.js';
import { layOutTree } from './lay-out-tree.js';
import type { Image, ImageConfig } from '../../ports/image-store.js';
import type { RuntimeParts } from './guest-runtime.js';
import type { ImageSource } from './image-source.js';
import type { DeclaredConfig } from './image-config.js';
import type { ImportLimits } from './import-limits.js';
import type { RootSource } from './root-source.js';

/** In order. */
export const IMPORT_STEPS = [
  'Opening the source',
  'Putting its layers together',
  'Adding the guest agent',
  'Writing the root disk',
  'Checking the root disk',
  'Publishing the image',
] as const;
export type ImportStepName = (typeof IMPORT_STEPS)[number];

export interface ImageImport {
  readonly id: string;
  readonly name: string;
  readonly source: ImageSource;
  /** Its kernel and initial RAM disk are the new image's. */
  readonly base: Image;
  readonly runtime: Omit<RuntimeParts, 'time'>;
  readonly limits?: ImportLimits;
  /** What goes into the id, for people. */
  readonly inputs: Readonly<Record<string, string>>;
}

/** Makes an image of a source in `staging`, made by the caller; returns the folder in it that is the finished, synced image. */
export async function importImage(
  order: ImageImport,
  staging: string,
  onStep: (step: ImportStepName) => void,
  signal: AbortSignal,
): Promise<string> {
  const folder = (name: string): string => join(staging, name);
  for (const name of ['image', 'scratch', 'source', 'content', 'root']) await mkdir(folder(name));
  const image = folder('image');
  const disk = join(image, IMAGE_FILES.rootDisk);
  const debugfs = { disk, scratch: folder('scratch'), env: timeFor(IMAGE_TIME), signal };
  const budget = await ImportBudget.open(order.limits ?? IMPORT_LIMITS, staging);
  const store = new ContentStore(folder('content'), budget);
  const runtime = { ...order.runtime, time: IMAGE_TIME };
  const tree = new ImageTree();

  onStep('Opening the source');
  const opened = await order.source.open({ scratch: folder('source'), budget, signal });
  let config: ImageConfig | undefined;
  if ('disk' in opened) {
    onStep('Adding the guest agent');
    await rename(opened.disk, disk);
    await addRuntime(tree, store, runtime, 0, signal);
    onStep('Writing the root disk');
    await addToDisk(debugfs, tree);
  } else {
    onStep('Putting its layers together');
    await putTogether(opened, tree, store, budget, signal);
    config = await settleConfig(opened.config, tree, opened.layers.length);
    onStep('Adding the guest agent');
    await addRuntime(tree, store, runtime, opened.layers.length + 1, signal);
    onStep('Writing the root disk');
    const laidOut = await layOutTree(tree, folder('root'));
    // As many again as the smallest disk has, each of which takes some of it.
    const inodes = laidOut.inodes + 32_768;
    const size = diskSizeFor(laidOut.bytes + inodes * INODE_BYTES);
    await formatExt4(folder('root'), disk, { uuid: diskUuid(order.id), time: IMAGE_TIME, size, inodes }, signal);
    await setExt4Attributes(debugfs, laidOut, IMAGE_TIME);
  }

  onStep('Checking the root disk');
  await validateExt4(disk, RUNTIME_FILES, debugfs.scratch, signal);

  onStep('Publishing the image');
  // Never written again, neither here nor there.
  for (const part of ['vmlinuz', 'vmlinux', 'initrd'] as const)
    await link(order.base[part], join(image, IMAGE_FILES[part]));
  const { kernelRelease, kernelParameters } = order.base;
  await finishImage(
    image,
    {
      id: order.id,
      name: order.name,
      kernelRelease,
      kernelParameters,
      inputs: order.inputs,
      ...(config && { config }),
    },
    signal,
  );
  return image;
}

async function putTogether(
  { layers }: RootSource,
  tree: ImageTree,
  store: ContentStore,
  budget: ImportBudget,
  signal: AbortSignal,
): Promise<void> {
  for (const [index, { entries, whiteouts }] of layers.entries()) {
    const onBytes = (count: number): void => {
      budget.takeUnpacked(count);
    };
    await applyLayer(entries(onBytes, signal), tree, store, budget, { number: index + 1, whiteouts });
  }
}

/** With the user looked up and the working directory made, as container runtimes do when they start something. */
async function settleConfig(
  declared: DeclaredConfig | undefined,
  tree: ImageTree,
  layer: number,
): Promise<ImageConfig | undefined> {
  if (declared === undefined) return undefined;
  const user = await findUser(tree, declared.user);
  const workingDirectory = posix.normalize(declared.workingDirectory);
  const path = fromText(workingDirectory.slice(1));
  const there = tree.follow(path);
  if (there === undefined)
    tree.place(path, directory({ mode: 0o755, uid: 0, gid: 0, mtime: IMAGE_TIME, xattrs: new Map() }), layer);
  else if (there.kind !== 'directory')
    throw refused('IMAGE_CONTENT_INVALID', `its working directory ${workingDirectory} is a ${there.kind}`);
  return { ...declared, user, workingDirectory };
}
