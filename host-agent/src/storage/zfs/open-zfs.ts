import { InvalidState, Unsupported, messageOf } from '@offshoot/shared/errors.js';
import { DatasetTree } from './dataset-tree.js';
import { UDEV_PATIENCE, type Patience } from './patience.js';
import { ZfsDatasets } from './zfs-datasets.js';
import { ZfsDisks } from './zfs-disks.js';
import { LocalZfs, type ZfsProgram } from './zfs-program.js';
import { ZVOL_DEVICES, ZvolDevices, type DeviceNames } from './zvol-devices.js';

/** Property of the dataset: the state directory of the daemon it was given to. Volumes that this one does not know, it sweeps. */
const OWNER = 'offshoot:state_directory';

export interface ZfsOptions {
  /** By its name in the configuration. */
  readonly dataset: string;
  readonly stateDirectory: string;
  readonly program?: ZfsProgram;
  readonly patience?: Patience;
  readonly devices?: DeviceNames;
}

/**
 * Volumes below a dataset that this daemon alone has.
 * @throws Unsupported when ZFS does not have the dataset here, InvalidState when another daemon has it
 */
export async function openZfs(options: ZfsOptions): Promise<ZfsDisks> {
  const {
    dataset,
    stateDirectory,
    program = new LocalZfs(),
    patience = UDEV_PATIENCE,
    devices = ZVOL_DEVICES,
  } = options;
  await assertThere(program, dataset);
  await assertOurs(program, dataset, stateDirectory);
  const datasets = new ZfsDatasets(program, new DatasetTree(dataset), patience);
  for (const group of Object.values(datasets.tree.groups))
    if (!(await datasets.exists(group))) await datasets.createGroup(group);
  return new ZfsDisks(datasets, program, new ZvolDevices(patience, devices));
}

async function assertThere(program: ZfsProgram, dataset: string): Promise<void> {
  let found: string;
  try {
    found = await program.run(['list', '-H', '-d', '0', '-o', 'name', dataset]);
  } catch (error) {
    throw notThere(dataset, messageOf(error), error);
  }
  if (found.trim() !== dataset) throw notThere(dataset, `it says ${JSON.stringify(found)}`);
}

const notThere = (dataset: string, why: string, cause?: unknown): Unsupported =>
  new Unsupported(`storage.zfs_dataset is ${dataset}, which ZFS does not have here: ${why}`, {
    reason: 'ZFS_DATASET_MISSING',
    metadata: { dataset },
    cause,
  });

async function assertOurs(program: ZfsProgram, dataset: string, stateDirectory: string): Promise<void> {
  const owner = (await program.run(['get', '-H', '-o', 'value', OWNER, dataset])).trim();
  if (owner === '-') await program.run(['set', `${OWNER}=${stateDirectory}`, dataset]);
  else if (owner !== stateDirectory)
    throw new InvalidState(
      `storage.zfs_dataset is ${dataset}, which belongs to the daemon with the state directory ${owner}: give each a dataset of its own, or, where that directory has moved here, run zfs set ${OWNER}=${stateDirectory} ${dataset}`,
      { reason: 'ZFS_DATASET_TAKEN', metadata: { dataset, owner } },
    );
}
