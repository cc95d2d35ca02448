import { mkdir, mkdtemp, readFile, realpath, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { InvalidState, Unreachable, messageOf } from '@offshoot/shared/errors.js';
import * as z from 'zod';
import { replaceFile } from '../../os/durable-file.js';
import type { LaunchSpec } from '../../ports/driver.js';
import { withTimeLimit } from '../time-limit.js';
import {
  endCloudHypervisor,
  startCloudHypervisor,
  withKernel,
  type CloudHypervisorProcess,
} from './cloud-hypervisor-process.js';
import { launchArguments } from './command-line.js';
import { idleGuest } from './idle-guest.js';
import { takeSnapshot } from './snapshot-files.js';
import { PROBE_LIMIT } from './time-limits.js';
import { filesOf } from './vmm-files.js';

const MIB = 1024 * 1024;

const CACHED = z.object({ key: z.string(), reason: z.string() });

export interface SnapshotProbeOptions {
  readonly binary: string;
  readonly version: string;
  /** Keeps the answer until the host is booted again or Cloud Hypervisor is replaced. */
  readonly scratchDirectory: string;
}

/**
 * Whether VMs can be captured here, found by capturing one: Cloud Hypervisor saves the state of nested virtualization with each
 * processor, which the KVM of some hosts that are VMs themselves does not give away (GetNestedState, EINVAL), though it runs
 * VMs well enough.
 * @returns why they cannot; empty when they can
 */
export async function probeSnapshots(options: SnapshotProbeOptions, signal?: AbortSignal): Promise<string> {
  const cache = join(options.scratchDirectory, 'cloud-hypervisor-probe.json');
  const key = await cacheKey(options);
  const cached = await readCache(cache);
  if (cached?.key === key) return cached.reason;
  const reason = await run(options, signal);
  await replaceFile(cache, JSON.stringify({ key, reason }), { durable: false });
  return reason;
}

async function run(
  { binary, scratchDirectory }: SnapshotProbeOptions,
  signal: AbortSignal | undefined,
): Promise<string> {
  const directory = await realpath(await mkdtemp(join(scratchDirectory, 'ch-')));
  try {
    const spec = await layOut(directory);
    return await withTimeLimit(PROBE_LIMIT, signal, async (limited) => {
      const vmm = await withKernel(spec, spec.kernel.vmlinux, () =>
        startCloudHypervisor(
          { binary, spec, arguments: (inherited) => launchArguments(spec, inherited), ready: 'vm booted' },
          limited,
        ),
      );
      try {
        return await tryCapture(vmm, spec, limited);
      } finally {
        await endCloudHypervisor(vmm, spec);
      }
    });
  } catch (error) {
    if (error instanceof Unreachable) return error.message;
    throw error;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function tryCapture({ api }: CloudHypervisorProcess, spec: LaunchSpec, signal: AbortSignal): Promise<string> {
  try {
    await api.pause(signal);
    await takeSnapshot(api, filesOf(spec).snapshot, { privateMemory: false }, signal);
    return '';
  } catch (error) {
    if (!(error instanceof InvalidState)) throw error;
    return error.message.includes('GetNestedState')
      ? `this host's KVM does not give the state of nested virtualization away: ${messageOf(error)}`
      : messageOf(error);
  }
}

async function layOut(directory: string): Promise<LaunchSpec> {
  const elf = join(directory, 'probe.elf');
  const spec: LaunchSpec = {
    directory,
    runDirectory: join(directory, 'run'),
    logDirectory: join(directory, 'logs'),
    vcpus: 1,
    memoryBytes: 64 * MIB,
    memoryFile: join(directory, 'memory'),
    disk: { path: join(directory, 'disk.raw'), format: 'raw' },
    nic: { mac: '', backend: { kind: 'none' } },
    kernel: { vmlinuz: elf, vmlinux: elf, commandLine: '' },
  };
  for (const folder of [spec.runDirectory, spec.logDirectory]) await mkdir(folder);
  await writeFile(elf, idleGuest());
  for (const [file, bytes] of [
    [spec.memoryFile, spec.memoryBytes],
    [spec.disk.path, MIB],
  ] as const) {
    await writeFile(file, '');
    await truncate(file, bytes);
  }
  return spec;
}

async function cacheKey({ binary, version }: SnapshotProbeOptions): Promise<string> {
  const bootId = (await readFile('/proc/sys/kernel/random/boot_id', 'latin1')).trim();
  const path = await realpath(binary);
  const { mtimeMs, size } = await stat(path);
  return [bootId, path, mtimeMs, size, version].join(' ');
}

async function readCache(path: string): Promise<z.infer<typeof CACHED> | undefined> {
  try {
    return CACHED.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch {
    return undefined; // not there, or not ours: the probe says it anew
  }
}
