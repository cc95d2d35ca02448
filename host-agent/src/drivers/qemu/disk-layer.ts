import { basename, dirname, join } from 'node:path';
import { Corrupt } from '@offshoot/shared/errors.js';
import * as z from 'zod';
import type { MachineSpec } from '../../ports/driver.js';
import { DISK_NODE, diskNode } from './command-line.js';
import type { QmpClient } from './qmp-client.js';

const BLOCK_BACKENDS = z.array(z.object({ inserted: z.object({ 'node-name': z.string() }).optional() }));
const NODES = z.array(z.object({ 'node-name': z.string() }));

/** A layer's node is named after its file, which is how the file is found again. */
const ENDING = '.qcow2';
const nodeOf = (file: string): string => basename(file, ENDING);

/**
 * Puts an empty qcow2 file on top of the disk; see the driver port. QEMU waits for the guest's requests that are under way,
 * writes everything out, and opens the file below anew to read from it, by the name it was opened with before.
 */
export async function addLayer(qmp: QmpClient, file: string, signal?: AbortSignal): Promise<void> {
  const overlay = nodeOf(file);
  const node = await topNode(qmp, signal);
  try {
    // backing null: it gets the node that is there, not a second one of the same file.
    await qmp.run('blockdev-add', { ...diskNode(overlay, { path: file, format: 'qcow2' }), backing: null }, signal);
    await qmp.run('blockdev-snapshot', { node, overlay }, signal);
  } catch (error) {
    // One that was cancelled may have been carried out all the same; QEMU does not remove a node that is in use.
    await qmp.run('blockdev-del', { 'node-name': overlay }).catch(() => undefined);
    throw error;
  }
}

/**
 * Lets the disk's top stand on another file; see the driver port. QEMU reads through the new file first, and then says so in the
 * top's header: whoever ends in between leaves a disk that stands on what it stood on, with the same content.
 */
export async function changeBacking(
  qmp: QmpClient,
  spec: Pick<MachineSpec, 'disk'>,
  file: string,
  signal?: AbortSignal,
): Promise<void> {
  const backing = nodeOf(file);
  const top = await topNode(qmp, signal);
  const path = await diskFileOf(qmp, spec, signal);
  try {
    await qmp.run('blockdev-add', { ...diskNode(backing, { path: file, format: 'qcow2' }), 'read-only': true }, signal);
    // Everything that is not said again would be as QEMU has it by default.
    await qmp.run('blockdev-reopen', { options: [{ ...diskNode(top, { path, format: 'qcow2' }), backing }] }, signal);
    const header = { device: top, 'image-node-name': top, 'backing-file': basename(file) };
    await qmp.run('change-backing-file', header, signal);
  } finally {
    // What is not read through any more: the new file where that failed, or the layers it replaces.
    await dropLooseLayers(qmp);
  }
}

/** Absolute path of the file that takes the disk's writes, by the name under which its VMM knows it. */
export async function diskFileOf(
  qmp: QmpClient,
  { disk }: Pick<MachineSpec, 'disk'>,
  signal?: AbortSignal,
): Promise<string> {
  const node = await topNode(qmp, signal);
  return node === DISK_NODE ? disk.path : join(dirname(disk.path), `${node}${ENDING}`);
}

/** Closes files the VMM does not read through: of a daemon that ended in the middle of {@link addLayer}, or layers that were replaced. */
export async function dropLooseLayers(qmp: QmpClient, signal?: AbortSignal): Promise<void> {
  for (let dropped = true; dropped;) {
    dropped = false;
    for (const { 'node-name': node } of await qmp.execute('query-named-block-nodes', { flat: true }, NODES, signal)) {
      if (!node.startsWith('layer-') && node !== DISK_NODE) continue;
      // QEMU refuses for those that are in use, by the VM or by one above that is to go as well.
      const gone = qmp.run('blockdev-del', { 'node-name': node }, signal);
      dropped =
        (await gone.then(
          () => true,
          () => false,
        )) || dropped;
    }
  }
}

async function topNode(qmp: QmpClient, signal: AbortSignal | undefined): Promise<string> {
  const backends = await qmp.execute('query-block', {}, BLOCK_BACKENDS, signal);
  const node = backends.find(({ inserted }) => inserted !== undefined)?.inserted?.['node-name'];
  if (node !== undefined) return node;
  throw new Corrupt('the VM has no disk', { reason: 'QMP_MALFORMED' });
}
