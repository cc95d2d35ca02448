import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { DriverName } from '../../host-agent/src/domain/driver-capabilities.js';
import type { Capture } from '../../host-agent/src/domain/instance.js';
import type { CaptureResult } from '../../host-agent/src/ports/driver.js';

/** As the app records it. */
export async function recordOf(result: CaptureResult, driver: DriverName = 'qemu'): Promise<Capture> {
  const { size, mtimeNs, ino } = await stat(result.memoryFile, { bigint: true });
  return {
    takenAt: new Date().toISOString(),
    stateFile: 'device-state',
    stateSha256: result.stateSha256,
    memoryFile: 'memory',
    memoryStamp: { size: Number(size), mtimeNs: String(mtimeNs), inode: String(ino) },
    regions: result.regions,
    driver,
    driverVersion: result.driverVersion,
    machineType: result.machineType,
    cpuModel: result.cpuModel,
    accelerator: result.accelerator,
    networkMode: 'user',
    registeredMailboxes: [],
    workloadLogOffset: 0,
  };
}

export const targetIn = (spec: { directory: string }): { stateFile: string; memoryFile: string } => ({
  stateFile: join(spec.directory, 'device-state'),
  memoryFile: join(spec.directory, 'memory.next'),
});

/** Renames as the app does with a private clone's new memory. */
export async function settled(result: CaptureResult, spec: { directory: string }): Promise<CaptureResult> {
  const memoryFile = join(spec.directory, 'memory');
  if (result.memoryFile !== memoryFile) await rename(result.memoryFile, memoryFile);
  return { ...result, memoryFile };
}

export async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: 1024 * 1024 }), hash);
  return hash.digest('hex');
}
