import { createHash } from 'node:crypto';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { InvalidState } from '@offshoot/shared/errors.js';
import { parseImageId } from '../domain/ids.js';
import { KERNEL_PARAMETERS } from './kernel-parameters.js';
import { LAYOUT_VERSION } from './image-record.js';
import { ContentDigests } from './content-digests.js';
import { findKernelPackages, lookUp } from './kernel-packages.js';
import { sharedLibraries } from './shared-libraries.js';
import { runTool } from './tool.js';
import { walkTree } from './walk-tree.js';
import type { Distribution } from './distribution.js';
import type { ImageId } from '../domain/ids.js';
import type { PackageRecord, PackageSource } from './package-source.js';

/** Static busybox: from this machine, or else to be taken out of its package. */
export type BusyboxSource =
  { readonly kind: 'installed'; readonly path: string } | { readonly kind: 'package'; readonly record: PackageRecord };

/** Everything the default image is made of. Equal inputs have equal ids. */
export interface ImageInputs {
  readonly id: ImageId;
  readonly kernelPackages: readonly PackageRecord[];
  readonly busybox: BusyboxSource;
  /** Path of the Node binary. */
  readonly node: string;
  readonly libraries: readonly string[];
  /** Of the agent's code caches. V8 writes other bytes each time, of the same code: no part of the id. */
  readonly codeCaches: string;
  /** What goes into the id, by name. */
  readonly description: Readonly<Record<string, string>>;
}

export interface InputOptions {
  readonly packages: PackageSource;
  readonly distribution: Distribution;
  readonly agentBundle: string;
  /** `default/` of the repository's images folder. */
  readonly assets: string;
  readonly digestMemory: string;
  readonly node: string;
  /** Where a static busybox may be installed. */
  readonly busybox: string;
}

/** Looks at all inputs; well under a second once their digests are remembered. @throws InvalidState for a missing bundle or package list */
export async function gatherInputs(options: InputOptions, signal?: AbortSignal): Promise<ImageInputs> {
  await assertBundle(options.agentBundle);
  const digests = await ContentDigests.open(options.digestMemory);
  const kernelPackages = await findKernelPackages(options.packages, options.distribution, signal);
  const busybox = await findBusybox(options, signal);
  const libraries = await collectLibraries(options, signal);
  const description: Record<string, string> = {
    layout: String(LAYOUT_VERSION),
    kernel: kernelPackages.map(({ name, version }) => `${name} ${version}`).join(', '),
    kernelParameters: KERNEL_PARAMETERS,
    node: await digests.file(options.node, signal),
    agent: await digests.folder(options.agentBundle, { counts: (name) => !isCodeCache(name), signal }),
    assets: await digests.folder(options.assets, { signal }),
    busybox: busybox.kind === 'installed' ? await digests.file(busybox.path, signal) : busybox.record.sha256,
    e2fsprogs: (await runTool('mkfs.ext4', ['-V'], { signal })).stderr.split('\n')[0] ?? '',
  };
  for (const library of libraries) description[library] = await digests.file(library, signal);
  const codeCaches = await digests.folder(options.agentBundle, { counts: isCodeCache, signal });
  await digests.save();
  const id = parseImageId(createHash('sha256').update(JSON.stringify(description)).digest('hex'));
  return { id, kernelPackages, busybox, node: options.node, libraries, codeCaches, description };
}

/** Which Node they are for is another file of the bundle, `code-caches.json`, which does go into the id. */
const isCodeCache = (name: string): boolean => name.endsWith('.cache');

async function assertBundle(folder: string): Promise<void> {
  for (const name of ['agent.cjs', 'offshoot-guest'])
    await access(join(folder, name)).catch((error: unknown) => {
      throw new InvalidState(`the guest agent is not built: ${join(folder, name)} is missing; run make build`, {
        reason: 'AGENT_BUNDLE_MISSING',
        metadata: { path: join(folder, name) },
        cause: error,
      });
    });
}

/** A busybox with a loader (package `busybox`) would need its libraries in the initrd. */
async function findBusybox({ packages, busybox }: InputOptions, signal?: AbortSignal): Promise<BusyboxSource> {
  const isThere = await access(busybox).then(
    () => true,
    () => false,
  );
  if (isThere && (await sharedLibraries(busybox, signal)).length === 0) return { kind: 'installed', path: busybox };
  return { kind: 'package', record: await lookUp(packages, 'busybox-static', signal) };
}

/** Of Node and of the native add-ons in the bundle. */
async function collectLibraries({ node, agentBundle }: InputOptions, signal?: AbortSignal): Promise<string[]> {
  const libraries = new Set(await sharedLibraries(node, signal));
  for await (const { name, path } of walkTree(agentBundle))
    if (name.endsWith('.node')) for (const library of await sharedLibraries(path, signal)) libraries.add(library);
  return [...libraries].sort();
}
