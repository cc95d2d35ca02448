import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Duplex } from 'node:stream';
import { Unsupported, messageOf } from '@offshoot/shared/errors.js';
import * as z from 'zod';
import { findProgram } from '../../os/program-path.js';
import { QmpClient } from './qmp-client.js';

export type Accelerator = 'kvm' | 'tcg';

/** What a capture is bound to. */
export interface MachineFacts {
  /** As QEMU gives it, with its package: `7.2.22 (Debian 1:7.2+dfsg-7)`. */
  readonly version: string;
  /** Versioned, as `pc-q35-7.2`. */
  readonly machineType: string;
  readonly accelerator: Accelerator;
  /** What is recorded and compared. */
  readonly cpuModel: string;
  /** What QEMU is told; the guest sees the same processor only where {@link cpuModel} is the same, too. */
  readonly cpuArgument: string;
}

/** A QEMU as it describes itself. */
export interface QemuInstallation {
  /** Absolute. */
  readonly binary: string;
  readonly version: string;
  readonly machineType: string;
  /** Why device state cannot be saved without RAM; empty when it can. */
  readonly captureUnsupported: string;
}

const DEVICES = [
  'virtio-blk-pci',
  'virtio-net-pci',
  'virtio-serial-pci',
  'virtserialport',
  'virtio-rng-pci',
  'vmgenid',
  'pvpanic',
];

/** Needs no Xen, whatever its name says: it is in every stock x86 build, and writes all device state and no RAM. */
export const SAVE_COMMAND = 'xen-save-devices-state';

const VERSION = z.object({
  qemu: z.object({ major: z.number(), minor: z.number(), micro: z.number() }),
  package: z.string(),
});
const NAMES = z.array(z.object({ name: z.string() }));

/** @param program name on the PATH, or a path. @throws Unsupported saying what is missing */
export async function inspectInstallation(program: string, signal?: AbortSignal): Promise<QemuInstallation> {
  const binary = await findProgram(program);
  if (binary === undefined)
    throw new Unsupported(`${program} is not installed (not an executable file): install the package qemu-system-x86`, {
      reason: 'PROGRAM_MISSING',
      metadata: { program },
    });
  signal?.throwIfAborted();
  // A pipe of Node is a pair of connected sockets: QEMU takes its end as it is, and there is no path to clean up.
  const child = spawn(
    binary,
    [
      ...['-no-user-config', '-nodefaults', '-display', 'none', '-machine', 'none', '-S', '-sandbox', 'on'],
      ...['-chardev', 'socket,id=qmp,fd=3', '-mon', 'chardev=qmp,mode=control'],
    ],
    { stdio: ['ignore', 'ignore', 'pipe', 'pipe'], env: { PATH: process.env.PATH } },
  );
  const ended = once(child, 'close');
  ended.catch(() => undefined); // asked below
  let stderr = '';
  child.stderr?.on('data', (chunk: Buffer) => (stderr = (stderr + chunk.toString('utf8')).slice(-4096)));
  const stream = child.stdio[3];
  try {
    if (child.pid === undefined || !(stream instanceof Duplex)) {
      await ended;
      throw new Error('QEMU was started without its control socket');
    }
    return await describe(binary, await QmpClient.over(stream, signal), signal);
  } catch (error) {
    if (signal?.aborted === true || error instanceof Unsupported) throw error;
    child.kill('SIGKILL');
    await ended.catch(() => undefined); // it never started: that is the error in hand
    throw new Unsupported(`${binary} does not start: ${stderr.trim() || messageOf(error)}`, {
      reason: 'HYPERVISOR_UNUSABLE',
      metadata: { program: binary },
      cause: error,
    });
  } finally {
    child.kill('SIGKILL');
  }
}

async function describe(binary: string, qmp: QmpClient, signal: AbortSignal | undefined): Promise<QemuInstallation> {
  const [version, machines, commands, types] = await Promise.all([
    queryVersion(qmp, signal),
    qmp.execute('query-machines', {}, NAMES, signal),
    qmp.execute('query-commands', {}, NAMES, signal),
    qmp.execute('qom-list-types', { implements: 'device', abstract: false }, NAMES, signal),
  ]);
  qmp.close();
  const machineType = newestQ35(machines.map(({ name }) => name));
  const present = new Set(types.map(({ name }) => name));
  const absent = DEVICES.filter((device) => !present.has(device));
  if (machineType === undefined || absent.length > 0)
    throw new Unsupported(
      `${binary} (${version}) lacks ${machineType === undefined ? 'machine q35' : `devices ${absent.join(', ')}`}`,
      { reason: 'HYPERVISOR_UNUSABLE', metadata: { program: binary } },
    );
  const canSave = commands.some(({ name }) => name === SAVE_COMMAND);
  const captureUnsupported = canSave ? '' : `${binary} (${version}) was built without the command ${SAVE_COMMAND}`;
  return { binary, version, machineType, captureUnsupported };
}

/** Version and package of a running QEMU, as captures record it. */
export async function queryVersion(qmp: QmpClient, signal?: AbortSignal): Promise<string> {
  const { qemu, package: build } = await qmp.execute('query-version', {}, VERSION, signal);
  const number = `${String(qemu.major)}.${String(qemu.minor)}.${String(qemu.micro)}`;
  return build === '' ? number : `${number} (${build})`;
}

/** The alias `q35` means another machine in each QEMU: captures need the name that stays. */
export function newestQ35(machines: readonly string[]): string | undefined {
  const versions = machines.flatMap((name) => {
    const match = /^pc-q35-(\d+)\.(\d+)(?:\.(\d+))?$/.exec(name);
    return match === null ? [] : [{ name, key: match.slice(1).map((part: string | undefined) => Number(part ?? 0)) }];
  });
  const newer = (a: number[], b: number[]): number => a.map((part, i) => part - (b[i] ?? 0)).find((d) => d !== 0) ?? 0;
  return versions.sort((a, b) => newer(a.key, b.key)).at(-1)?.name;
}
