import { createHash } from 'node:crypto';
import { dirname, join } from 'node:path';
import { InvalidState } from '@offshoot/shared/errors.js';
import { parseImageId } from '../domain/ids.js';
import { AptPackageSource } from './apt-package-source.js';
import { ContentDigests } from './content-digests.js';
import { BUILD_STEPS, buildDefaultImage, provideBusybox } from './default-image-build.js';
import { detectDistribution } from './distribution.js';
import { gatherInputs } from './image-inputs.js';
import { holdImage } from './image-lock.js';
import { findSource } from './import/find-source.js';
import { SETPRIV } from './import/guest-runtime.js';
import { IMPORT_STEPS, importImage } from './import/image-import.js';
import { sharedLibraries } from './shared-libraries.js';
import type { Image, ImportStep } from '../ports/image-store.js';
import type { ImageBuild, ImageBuilds } from './image-builds.js';
import type { ImageInputs, InputOptions } from './image-inputs.js';
import type { PackageSource } from './package-source.js';

export interface ImportOptions {
  /** Downloaded packages and remembered digests; may be emptied at any time. Made when missing. */
  readonly cacheDirectory: string;
  /** The repository's `images/` folder. */
  readonly assetsDirectory: string;
  /** Folder that becomes /opt/offshoot in the guest. */
  readonly agentBundle: string;
  /** This machine's apt unless given. */
  readonly packages?: PackageSource;
  /** os-release(5) to go by, /etc/os-release unless given. */
  readonly osRelease?: string;
  /** Static busybox to prefer to the package's, /bin/busybox unless given. */
  readonly busybox?: string;
}

export const DEFAULT_IMAGE = 'default';
/** Grows when the same source is made into another image. */
const IMPORTER_VERSION = 1;
/** An unpacked Debian kernel has 110 MB, Ubuntu's up to 200; the guest's files 100 MB, twice. */
const WORKING_BYTES = 600 * 2 ** 20;

/** What images are made of, and how: each order becomes one build, or finds what that built before. */
export class ImageImports {
  private readonly packages: PackageSource;

  constructor(
    private readonly options: ImportOptions,
    private readonly builds: ImageBuilds,
  ) {
    this.packages = options.packages ?? new AptPackageSource(options.cacheDirectory);
  }

  /** The default image. */
  async default(onStep: (step: ImportStep) => void, signal?: AbortSignal): Promise<Image> {
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

  /** One of a source, see findSource, and of the default image's kernel. */
  async from(source: string, name: string, onStep: (step: ImportStep) => void, signal: AbortSignal): Promise<Image> {
    const found = await findSource(source, join(this.options.cacheDirectory, 'source-digests.json'), signal);
    // Its kernel boots the other one too.
    const base = await this.default(onStep, signal);
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
        using _base = holdImage(dirname(base.rootDisk));
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
    const parts = [await digests.folder(this.assets('imported'), { signal })];
    for (const file of files) parts.push(await digests.file(file, signal));
    await digests.save();
    return createHash('sha256').update(parts.join(' ')).digest('hex');
  }

  private async assertUnchanged({ id, codeCaches }: ImageInputs, signal: AbortSignal): Promise<void> {
    const now = await gatherInputs(await this.inputOptions(), signal);
    if (now.id === id && now.codeCaches === codeCaches) return;
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
