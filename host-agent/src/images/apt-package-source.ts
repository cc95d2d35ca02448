import { mkdir, mkdtemp, readFile, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { Corrupt, Unreachable, errnoOf } from '@offshoot/shared/errors.js';
import { replaceFile } from '../os/durable-file.js';
import { hashFile } from './content-digests.js';
import { ToolFailure, runTool } from './tool.js';
import { dependencyNames } from './package-source.js';
import type { PackageRecord, PackageSource } from './package-source.js';

/** What decides on the version apt would take. apt-get update renames its files into lists/. */
const APT_INPUTS = [
  '/etc/apt/apt.conf.d',
  '/etc/apt/preferences',
  '/etc/apt/preferences.d',
  '/etc/apt/sources.list',
  '/etc/apt/sources.list.d',
  '/var/lib/apt/lists',
  '/var/lib/dpkg/status',
];

const remembered = z.object({
  stamp: z.string(),
  architecture: z.string().optional(),
  records: z.record(
    z.string(),
    z.object({
      name: z.string(),
      version: z.string(),
      architecture: z.string(),
      sha256: z.string(),
      dependencies: z.array(z.string()),
    }),
  ),
});
type Remembered = z.infer<typeof remembered>;

/**
 * Packages by way of this machine's apt, as any user: lists and sources as the administrator set them up.
 * A question to apt-cache takes 0.7 s where /var/cache/apt is kept empty (containers), so answers are remembered for as
 * long as nothing apt reads has changed.
 */
export class AptPackageSource implements PackageSource {
  private readonly packages: string;
  private readonly memory: string;

  /** @param cacheDirectory made when missing; gets `packages/` and `package-records.json` */
  constructor(cacheDirectory: string) {
    this.packages = join(cacheDirectory, 'packages');
    this.memory = join(cacheDirectory, 'package-records.json');
  }

  async architecture(signal?: AbortSignal): Promise<string> {
    const memory = await this.recall();
    if (memory.architecture !== undefined) return memory.architecture;
    const architecture = (await runTool('dpkg', ['--print-architecture'], { signal })).stdout.trim();
    await this.remember({ ...memory, architecture });
    return architecture;
  }

  async find(name: string, signal?: AbortSignal): Promise<PackageRecord | undefined> {
    const memory = await this.recall();
    const known = memory.records[name];
    if (known !== undefined) return known;
    const record = await askApt(name, signal);
    if (record !== undefined)
      await this.remember({
        ...memory,
        records: { ...memory.records, [name]: { ...record, dependencies: [...record.dependencies] } },
      });
    return record;
  }

  async fetch(record: PackageRecord, signal?: AbortSignal): Promise<string> {
    // apt's own spelling of a version with an epoch in a file name.
    const version = record.version.replaceAll(':', '%3a');
    const path = join(this.packages, `${record.name}_${version}_${record.architecture}.deb`);
    if (await hasDigest(path, record.sha256)) return path;

    await mkdir(this.packages, { recursive: true });
    const download = await mkdtemp(join(this.packages, '.download-'));
    try {
      await runTool(
        'apt-get',
        // Without the sandbox's user apt does not complain that this user's folder is not open to it.
        ['-qq', '-o', 'APT::Sandbox::User=', 'download', `${record.name}:${record.architecture}=${record.version}`],
        { cwd: download, signal },
      );
      const [name] = await readdir(download);
      if (name === undefined || !(await hasDigest(join(download, name), record.sha256)))
        throw new Corrupt(`the package ${record.name} ${record.version} came with another content than its list says`, {
          reason: 'PACKAGE_DIGEST',
          metadata: { package: record.name, version: record.version },
        });
      await rename(join(download, name), path);
    } catch (error) {
      if (!(error instanceof ToolFailure)) throw error;
      throw new Unreachable(
        `the package ${record.name} ${record.version} cannot be downloaded (an old list? run apt-get update): ${error.message}`,
        {
          reason: 'PACKAGE_DOWNLOAD',
          metadata: { package: record.name, version: record.version },
          cause: error,
        },
      );
    } finally {
      await rm(download, { recursive: true, force: true });
    }
    return path;
  }

  private async recall(): Promise<Remembered> {
    const stamp = await aptStamp();
    try {
      const memory = remembered.parse(JSON.parse(await readFile(this.memory, 'utf8')));
      if (memory.stamp === stamp) return memory;
    } catch (error) {
      // A memory that is absent or unreadable is only slower.
      if (errnoOf(error) !== 'ENOENT' && !(error instanceof SyntaxError) && !(error instanceof z.ZodError)) throw error;
    }
    return { stamp, records: {} };
  }

  private async remember(memory: Remembered): Promise<void> {
    await mkdir(join(this.memory, '..'), { recursive: true });
    await replaceFile(this.memory, JSON.stringify(memory), { durable: false });
  }
}

async function askApt(name: string, signal: AbortSignal | undefined): Promise<PackageRecord | undefined> {
  const output = await runTool('apt-cache', ['show', '--no-all-versions', name], { signal }).catch((error: unknown) => {
    // 100 is apt's status for every error, and "nothing found" is one.
    if (error instanceof ToolFailure && /No packages found|Unable to locate package/.test(error.stderr))
      return undefined;
    throw error;
  });
  // A package that is only mentioned by others (virtual, or known to dpkg alone) has no stanza with a digest.
  return output === undefined ? undefined : parseStanza(output.stdout);
}

/** The first stanza of a deb822 text; undefined when it does not describe a downloadable package. */
export function parseStanza(text: string): PackageRecord | undefined {
  const [stanza = ''] = text.trimStart().split('\n\n');
  const field = (name: string): string | undefined => new RegExp(`^${name}: *(.*)$`, 'm').exec(stanza)?.[1]?.trim();
  const [name, version, architecture, sha256] = ['Package', 'Version', 'Architecture', 'SHA256'].map(field);
  if (name === undefined || version === undefined || architecture === undefined || sha256 === undefined)
    return undefined;
  return { name, version, architecture, sha256, dependencies: dependencyNames(field('Depends') ?? '') };
}

async function hasDigest(path: string, sha256: string): Promise<boolean> {
  try {
    return (await hashFile(path)) === sha256;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}

async function aptStamp(): Promise<string> {
  const stamps = await Promise.all(
    APT_INPUTS.map(async (path) => {
      const stats = await stat(path, { bigint: true }).catch(() => undefined);
      return stats === undefined ? '-' : `${String(stats.mtimeNs)}/${String(stats.size)}`;
    }),
  );
  return stamps.join(' ');
}
