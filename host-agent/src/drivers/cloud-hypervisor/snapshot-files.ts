import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Corrupt, InvalidState, messageOf } from '@offshoot/shared/errors.js';
import * as z from 'zod';
import type { CloudHypervisorApi } from './cloud-hypervisor-api.js';

/** The names Cloud Hypervisor gives the parts of a snapshot (vmm/src/migration/mod.rs, memory_manager.rs). */
const CONFIG = 'config.json';
const STATE = 'state.json';
const MEMORY = 'memory-ranges';

/** A VM as it was described and as it stood, without its memory: two JSON texts of Cloud Hypervisor's. */
export interface VmSnapshotFiles {
  readonly config: string;
  readonly state: string;
}

/** Both in one file, which is what a capture has for its device state. */
const PACKED = z.strictObject({
  format: z.literal('offshoot-cloud-hypervisor-1'),
  config: z.string(),
  state: z.string(),
});

export const pack = ({ config, state }: VmSnapshotFiles): string =>
  JSON.stringify({ format: 'offshoot-cloud-hypervisor-1', config, state } satisfies z.infer<typeof PACKED>);

/** @throws Corrupt for anything else than what {@link pack} made */
export function unpack(text: string, path: string): VmSnapshotFiles {
  try {
    const { config, state } = PACKED.parse(JSON.parse(text));
    return { config, state };
  } catch (error) {
    throw new Corrupt(`${path} is no device state of Cloud Hypervisor: ${messageOf(error)}`, {
      reason: 'STATE_NOT_LOADED',
      metadata: { path },
      cause: error,
    });
  }
}

/**
 * Has a paused VM's state written into a new folder, and nothing of its memory. Memory that is shared with its file stays out
 * by itself. Memory that is mapped privately would be written out whole, 4 KiB of changes in 4 GiB like all of it, as the
 * last part and into a new file: its name is taken here, so that this part fails, after the others are complete.
 * @throws what the API throws
 */
export async function takeSnapshot(
  api: CloudHypervisorApi,
  folder: string,
  { privateMemory }: { readonly privateMemory: boolean },
  signal?: AbortSignal,
): Promise<VmSnapshotFiles> {
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { mode: 0o700 });
  if (privateMemory) await mkdir(join(folder, MEMORY));
  try {
    await api.snapshot(folder, signal);
  } catch (error) {
    if (!privateMemory || !isRefusedMemory(error)) throw error;
  }
  return await readParts(folder);
}

/** It names the file, and says why it cannot be made: EEXIST for a new one, EISDIR for one that is to be opened. */
const isRefusedMemory = (error: unknown): boolean =>
  error instanceof InvalidState && error.message.includes(MEMORY) && /File exists|Is a directory/.test(error.message);

async function readParts(folder: string): Promise<VmSnapshotFiles> {
  const [config, state] = await Promise.all([CONFIG, STATE].map((name) => readFile(join(folder, name), 'utf8')));
  return { config: config ?? '', state: state ?? '' };
}

/** Lays a snapshot out as Cloud Hypervisor loads it. */
export async function writeSnapshot(folder: string, { config, state }: VmSnapshotFiles): Promise<void> {
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { mode: 0o700 });
  await Promise.all([
    writeFile(join(folder, CONFIG), config, { mode: 0o600 }),
    writeFile(join(folder, STATE), state, { mode: 0o600 }),
  ]);
}
