import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { stat } from 'node:fs/promises';
import { Corrupt, InvalidState, messageOf } from '@offshoot/shared/errors.js';
import type { Capture, FileStamp } from '../domain/instance.js';
import type { FileIdentity } from '../os/file-mappings.js';
import type { DriverName } from '../domain/driver-capabilities.js';
import type { RestoreSpec } from '../ports/driver.js';

/** Device state of Linux with five virtio devices is 217 KB from QEMU; so much more is not what we wrote. */
const MAX_STATE_BYTES = 64 * 1024 * 1024;

/** What a capture is bound to: it is loaded nowhere else. */
export interface MachineIdentity {
  readonly driver: DriverName;
  readonly version: string;
  readonly machineType: string;
  readonly cpuModel: string;
  readonly accelerator: string;
}

/**
 * The same machine on both sides: no VMM checks all of it by itself.
 * @param vmm name in messages
 */
export function checkSameMachine(
  vmm: string,
  capture: Pick<Capture, 'driver' | 'driverVersion' | 'machineType' | 'cpuModel' | 'accelerator'>,
  here: MachineIdentity,
): void {
  const compared: readonly (readonly [string, string, string])[] = [
    ['driver', capture.driver, here.driver],
    [`${vmm} version`, capture.driverVersion, here.version],
    ['machine type', capture.machineType, here.machineType],
    ['CPU model', capture.cpuModel, here.cpuModel],
    ['accelerator', capture.accelerator, here.accelerator],
  ];
  for (const [what, captured, present] of compared) {
    if (captured === present) continue;
    throw new InvalidState(`the capture was taken with ${what} ${captured}, here is ${present}: it cannot be loaded`, {
      reason: 'CAPTURE_MISMATCH',
      metadata: { what, captured, here: present },
    });
  }
}

/** @throws Corrupt unless the memory file is the one the capture left, and as large as the VM's RAM */
export async function checkMemory({ capture, memoryFile, memoryBytes }: RestoreSpec): Promise<FileIdentity> {
  const { stamp, identity } = await lookAt(memoryFile);
  const expected = capture.memoryStamp;
  for (const key of ['size', 'mtimeNs', 'inode'] as const) {
    if (stamp[key] === expected[key]) continue;
    throw altered('MEMORY_ALTERED', memoryFile, `${key} is ${String(stamp[key])}, was ${String(expected[key])}`);
  }
  if (stamp.size !== memoryBytes)
    throw altered(
      'MEMORY_ALTERED',
      memoryFile,
      `${String(stamp.size)} bytes for a VM with ${String(memoryBytes)} bytes of RAM`,
    );
  return identity;
}

/** Reads without moving the file's position, which the VMM inherits. @throws Corrupt unless it is what the capture wrote */
export async function checkState(state: FileHandle, path: string, sha256: string): Promise<void> {
  const actual = await sha256Of(state, path);
  if (actual !== sha256) throw altered('STATE_ALTERED', path, `SHA-256 is ${actual}, was ${sha256}`);
}

export async function sha256Of(file: FileHandle, path: string): Promise<string> {
  const { size } = await file.stat();
  if (size > MAX_STATE_BYTES) throw altered('STATE_ALTERED', path, `${String(size)} bytes of device state`);
  const bytes = Buffer.allocUnsafe(size);
  const { bytesRead } = await file.read(bytes, 0, size, 0);
  return createHash('sha256').update(bytes.subarray(0, bytesRead)).digest('hex');
}

async function lookAt(path: string): Promise<{ stamp: FileStamp; identity: FileIdentity }> {
  try {
    const { size, mtimeNs, dev, ino } = await stat(path, { bigint: true });
    const stamp = { size: Number(size), mtimeNs: String(mtimeNs), inode: String(ino) };
    return { stamp, identity: { device: dev, inode: ino } };
  } catch (error) {
    throw altered('MEMORY_MISSING', path, messageOf(error), error);
  }
}

export const altered = (reason: string, path: string, what: string, cause?: unknown): Corrupt =>
  new Corrupt(`${path} is not what the capture left: ${what}`, { reason, metadata: { path }, cause });
