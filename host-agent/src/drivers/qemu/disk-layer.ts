import { basename, dirname, join } from 'node:path';
import { Corrupt } from '@offshoot/shared/errors.js';
import { z } from 'zod';
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

/** Absolute path of the file that takes the disk's writes, by the name under which its VMM knows it. */
export async function diskFileOf(
  qmp: QmpClient,
  { disk }: Pick<MachineSpec, 'disk'>,
  signal?: AbortSignal,
): Promise<string> {
  const node = await topNode(qmp, signal);
  return node === DISK_NODE ? disk.path : join(dirname(disk.path), `${node}${ENDING}`);
}

/** Removes what a daemon that ended in the middle of {@link addLayer} left in the VMM. */
export async function dropLooseLayer(qmp: QmpClient, signal?: AbortSignal): Promise<void> {
  const nodes = await qmp.execute('query-named-block-nodes', { flat: true }, NODES, signal);
  for (const { 'node-name': node } of nodes)
    // QEMU refuses for those that are in use, which are all but one at most.
    if (node.startsWith('layer-')) await qmp.run('blockdev-del', { 'node-name': node }, signal).catch(() => undefined);
}

async function topNode(qmp: QmpClient, signal: AbortSignal | undefined): Promise<string> {
  const backends = await qmp.execute('query-block', {}, BLOCK_BACKENDS, signal);
  const node = backends.find(({ inserted }) => inserted !== undefined)?.inserted?.['node-name'];
  if (node !== undefined) return node;
  throw new Corrupt('the VM has no disk', { reason: 'QMP_MALFORMED' });
}
