import { constants } from 'node:fs';
import { access, mkdtemp, readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '@offshoot/shared/errors.js';
import { execa } from 'execa';
import * as z from 'zod';
import { KVM_PROBE_EXIT_CODE, KVM_PROBE_IMAGE } from './kvm-probe-image.js';

/** The probe takes 0.3 s even under software emulation; an interpreting KVM does not come to its end. */
const LIMIT_MS = 5000;
/** A host may also have been too busy to run it, as hosts are when they have just been booted: then it is asked again. */
const SLOW_KEPT_MS = 600_000;

const CACHED = z.object({
  key: z.string(),
  reason: z.string(),
  /** Milliseconds since 1970; without it the answer is good as long as its key. */
  until: z.number().optional(),
});

interface Answer {
  readonly reason: string;
  readonly until?: number;
}

export interface KvmProbeOptions {
  readonly binary: string;
  readonly machineType: string;
  /** Keeps the answer until the host is booted again or QEMU is replaced, and that it took too long for ten minutes. */
  readonly scratchDirectory: string;
}

/**
 * Whether KVM runs code here, found by running some: `/dev/kvm` also opens, and makes VMs, on nested hosts where an ordinary
 * kernel then hangs.
 * @returns why it does not work; empty when it does
 */
export async function probeKvm(options: KvmProbeOptions, signal?: AbortSignal): Promise<string> {
  try {
    await access('/dev/kvm', constants.R_OK | constants.W_OK);
  } catch (error) {
    return `/dev/kvm cannot be used: ${messageOf(error)}`;
  }
  const cache = join(options.scratchDirectory, 'kvm-probe.json');
  const key = await cacheKey(options);
  const cached = await readCache(cache);
  if (cached?.key === key && !(cached.until !== undefined && cached.until < Date.now())) return cached.reason;
  const answer = await run(options, signal);
  signal?.throwIfAborted();
  const temporary = `${cache}.${String(process.pid)}.tmp`;
  await writeFile(temporary, JSON.stringify({ key, ...answer }), { mode: 0o600 });
  await rename(temporary, cache);
  return answer.reason;
}

async function run({ binary, machineType, scratchDirectory }: KvmProbeOptions, signal?: AbortSignal): Promise<Answer> {
  const directory = await mkdtemp(join(scratchDirectory, 'kvm-probe-'));
  try {
    const image = join(directory, 'probe.elf');
    await writeFile(image, KVM_PROBE_IMAGE);
    const result = await execa(
      binary,
      [
        ...[
          '-no-user-config',
          '-nodefaults',
          '-display',
          'none',
          '-no-reboot',
          '-machine',
          machineType,
          '-accel',
          'kvm',
        ],
        ...['-cpu', 'host', '-m', '64', '-kernel', image, '-device', `isa-debug-exit,iobase=0xf4,iosize=4`],
      ],
      {
        cwd: directory,
        stdin: 'ignore',
        timeout: LIMIT_MS,
        killSignal: 'SIGKILL',
        reject: false,
        maxBuffer: 64 * 1024,
        ...(signal === undefined ? {} : { cancelSignal: signal }),
      },
    );
    if (result.exitCode === KVM_PROBE_EXIT_CODE) return { reason: '' };
    if (result.timedOut)
      return {
        reason: `KVM does not run an ordinary kernel: the probe did not end within ${String(LIMIT_MS / 1000)} s`,
        until: Date.now() + SLOW_KEPT_MS,
      };
    const said = result.stderr.split('\n')[0] ?? '';
    const how =
      result.exitCode === undefined ? `signal ${String(result.signal)}` : `exit code ${String(result.exitCode)}`;
    return {
      reason: `KVM does not run an ordinary kernel: the probe ended with ${how}${said === '' ? '' : `: ${said}`}`,
    };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function cacheKey({ binary, machineType }: KvmProbeOptions): Promise<string> {
  const bootId = (await readFile('/proc/sys/kernel/random/boot_id', 'latin1')).trim();
  const path = await realpath(binary);
  const { mtimeMs, size } = await stat(path);
  return [bootId, path, mtimeMs, size, machineType, KVM_PROBE_IMAGE.length].join(' ');
}

async function readCache(path: string): Promise<z.infer<typeof CACHED> | undefined> {
  try {
    return CACHED.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch {
    return undefined; // not there, or not ours: the probe says it anew
  }
}
