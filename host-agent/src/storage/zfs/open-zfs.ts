import { InvalidState } from '@offshoot/shared/errors.js';
import { DatasetTree } from './dataset-tree.js';
import { UDEV_PATIENCE, type Patience } from './patience.js';
import { probeDataset } from './probe-dataset.js';
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
 * @throws as {@link probeDataset} when ZFS does not have the dataset here, InvalidState when another daemon has it
 */
export async function openZfs(options: ZfsOptions): Promise<ZfsDisks> {
  const {
    dataset,
    stateDirectory,
    program = new LocalZfs(),
    patience = UDEV_PATIENCE,
    devices = ZVOL_DEVICES,
  } = options;
  await probeDataset(program, dataset);
  await assertOurs(program, dataset, stateDirectory);
  const datasets = new ZfsDatasets(program, new DatasetTree(dataset), patience);
  for (const group of Object.values(datasets.tree.groups))
    if (!(await datasets.exists(group))) await datasets.createGroup(group);
  return new ZfsDisks(datasets, program, new ZvolDevices(patience, devices));
}

async function assertOurs(program: ZfsProgram, dataset: string, stateDirectory: string): Promise<void> {
  const owner = (await program.run(['get', '-H', '-o', 'value', OWNER, dataset])).trim();
  if (owner === '-') await program.run(['set', `${OWNER}=${stateDirectory}`, dataset]);
  else if (owner !== stateDirectory)
    throw new InvalidState(
      `storage.zfs_dataset is ${dataset}, which belongs to the daemon with the state directory ${owner}: give each a dataset of its own, or, where that directory has moved here, run zfs set ${OWNER}=${stateDirectory} ${dataset}`,
      { reason: 'ZFS_DATASET_TAKEN', metadata: { dataset, owner } },
    );
}
