import { createHash } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { InvalidInput, InvalidState, NotFound } from '@offshoot/shared/errors.js';
import { parseImageId } from '../domain/ids.js';
import { asCapacityIfFull } from '../os/disk-space.js';
import { AptPackageSource } from './apt-package-source.js';
import { ContentDigests } from './content-digests.js';
import { BUILD_STEPS, buildDefaultImage, provideBusybox } from './default-image-build.js';
import { detectDistribution } from './distribution.js';
import { ImageBuilds } from './image-builds.js';
import { gatherInputs } from './image-inputs.js';
import { findSource } from './import/find-source.js';
import { SETPRIV } from './import/guest-runtime.js';
import { IMPORT_STEPS, importImage } from './import/image-import.js';
import { sharedLibraries } from './shared-libraries.js';
import { abortedBy } from './tool.js';
import type { Logger } from 'pino';
import type { Image, ImageStore, ImportOrder, ImportStep } from '../ports/image-store.js';
import type { ImageBuild } from './image-builds.js';
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
/** Shortest part of an id that is taken for one. */
const MIN_PREFIX = 6;
/** Of images, as of instances: one label of a host's name, but for dots and underscores. */
const NAME = /^[a-z0-9][a-z0-9._-]{0,62}$/;
/** Grows when the same source is made into another image. */
const IMPORTER_VERSION = 1;
/** An unpacked Debian kernel has 110 MB, Ubuntu's up to 200; the guest's files 100 MB, twice. */
const WORKING_BYTES = 600 * 2 ** 20;

/** Images in folders of one directory, made on this machine. */
export class LocalImageStore implements ImageStore {
  private readonly builds: ImageBuilds;
  private readonly packages: PackageSource;

  constructor(private readonly options: LocalImageStoreOptions) {
    this.packages = options.packages ?? new AptPackageSource(options.cacheDirectory);
    this.builds = new ImageBuilds(options.imagesDirectory, options.logger);
  }

  async import(
    { source, name }: ImportOrder,
    onStep: (step: ImportStep) => void,
    signal: AbortSignal = new AbortController().signal,
  ): Promise<Image> {
    assertName(source, name);
    try {
      signal.throwIfAborted();
      for (const folder of [this.options.imagesDirectory, this.options.cacheDirectory])
        await mkdir(folder, { recursive: true, mode: 0o700 });
      if (source === DEFAULT_IMAGE) return await this.importDefault(onStep, signal);
      return await this.importFrom(source, name ?? '', onStep, signal);
    } catch (error) {
      if (signal.aborted) throw abortedBy(signal);
      throw asCapacityIfFull(error);
    }
  }

  list(): Promise<readonly Image[]> {
    return this.builds.list();
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

  private async importDefault(onStep: (step: ImportStep) => void, signal?: AbortSignal): Promise<Image> {
    const inputs = await gatherInputs(await this.inputOptions(), signal);
    const build: ImageBuild = {
      id: inputs.id,
      name: DEFAULT_IMAGE,
      steps: BUILD_STEPS,
      workingBytes: WORKING_BYTES,
      build: async (staging, report, buildSignal) => {
        const { agentBundle } = this.options;
        const folder = await buildDefaultImage(
          { inputs, packages: this.packages, agentBundle, assets: this.assets(DEFAULT_IMAGE), name: DEFAULT_IMAGE },
          staging,
          report,
          buildSignal,
        );
        await this.assertUnchanged(inputs, buildSignal);
        return folder;
      },
    };
    return this.builds.run(build, onStep, signal);
  }

  private async importFrom(
    source: string,
    name: string,
    onStep: (step: ImportStep) => void,
    signal: AbortSignal,
  ): Promise<Image> {
    const found = await findSource(source, join(this.options.cacheDirectory, 'source-digests.json'), signal);
    // Its kernel boots the other one too.
    const base = await this.importDefault(onStep, signal);
    const inputs = await gatherInputs(await this.inputOptions(), signal);
    const description = {
      source: found.identity,
      base: base.id,
      importer: String(IMPORTER_VERSION),
      runtime: await this.runtimeDigest(signal),
    };
    const id = parseImageId(createHash('sha256').update(JSON.stringify(description)).digest('hex'));
    const build: ImageBuild = {
      id,
      name,
      steps: IMPORT_STEPS,
      workingBytes: WORKING_BYTES,
      build: async (staging, report, buildSignal) => {
        const busybox = await provideBusybox(inputs, this.packages, join(staging, 'busybox'), buildSignal);
        const runtime = {
          busybox,
          node: inputs.node,
          libraries: inputs.libraries,
          agentBundle: this.options.agentBundle,
          init: join(this.assets(DEFAULT_IMAGE), 'root/usr/sbin/init'),
          programs: join(this.assets('imported'), 'bin'),
        };
        const folder = await importImage(
          { id, name, source: found, base, runtime, inputs: { ...description, from: source } },
          staging,
          report,
          buildSignal,
        );
        await this.assertUnchanged(inputs, buildSignal);
        return folder;
      },
    };
    return this.builds.run(build, onStep, signal);
  }

  /** Of what an imported image gets and the default one has not. */
  private async runtimeDigest(signal: AbortSignal): Promise<string> {
    const digests = await ContentDigests.open(join(this.options.cacheDirectory, 'runtime-digests.json'));
    const files = [SETPRIV, ...(await sharedLibraries(SETPRIV, signal))];
    const parts = [await digests.folder(this.assets('imported'), signal)];
    for (const file of files) parts.push(await digests.file(file, signal));
    await digests.save();
    return createHash('sha256').update(parts.join(' ')).digest('hex');
  }

  private async assertUnchanged({ id }: ImageInputs, signal: AbortSignal): Promise<void> {
    if ((await gatherInputs(await this.inputOptions(), signal)).id === id) return;
    throw new InvalidState('agent, Node or packages were replaced while the image was built from them: try again', {
      reason: 'IMAGE_INPUTS_CHANGED',
      metadata: { image: id },
    });
  }

  private assets(name: string): string {
    return join(this.options.assetsDirectory, name);
  }

  private async inputOptions(): Promise<InputOptions> {
    const { cacheDirectory, agentBundle, osRelease, busybox } = this.options;
    return {
      packages: this.packages,
      distribution: await detectDistribution(osRelease),
      agentBundle,
      assets: this.assets(DEFAULT_IMAGE),
      digestMemory: join(cacheDirectory, 'digests.json'),
      node: process.execPath,
      busybox: busybox ?? '/bin/busybox',
    };
  }
}

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
