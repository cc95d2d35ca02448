import { assertCanonical } from './canonical-path.js';
import { isPath, type Configuration } from './configuration.js';
import { isComponent, isDataset, MAX_NAME } from './dataset-name.js';
import { quoted, refusal } from './refusal.js';

/** A word of a command that callers choose. */
export interface Operand {
  /** As it stands in the usage. */
  readonly name: string;
  /** How its words begin, where that is what tells its command from another one. */
  readonly begins?: string;
  /** @returns what it leads to in the program's arguments @throws InvalidInput saying what would be right */
  take(word: string, configuration: Configuration): string;
}

/** Images' disks are ext4 with blocks of 4096 bytes, which has no more than 2^32 of them. */
const MOST_BYTES = 2 ** 44;
/** A volume's size is a multiple of its block's, whichever that is: at most 128 KiB. */
const BYTES_UNIT = 128 * 1024;

const isSnapshot = (word: string): boolean => {
  const [dataset = '', label = '', ...more] = word.split('@');
  return more.length === 0 && isDataset(dataset) && isComponent(label);
};

/** @throws InvalidInput where root gave the daemon none */
function datasetOf({ zfsDataset }: Configuration): string {
  if (zfsDataset !== undefined) return zfsDataset;
  throw refusal('the configuration names no zfs_dataset');
}

const below = (name: string, example: string, isWellFormed: (word: string) => boolean): Operand => ({
  name,
  take: (word, configuration) => {
    const zfsDataset = datasetOf(configuration);
    if (word.length <= MAX_NAME && word.startsWith(`${zfsDataset}/`) && isWellFormed(word)) return word;
    throw refusal(`${name} has to be strictly below ${zfsDataset}, like ${zfsDataset}/${example}, not ${quoted(word)}`);
  },
});

/** The dataset of the configuration itself. */
export const ROOT: Operand = {
  name: 'ROOT',
  take: (word, configuration) => {
    const zfsDataset = datasetOf(configuration);
    if (word === zfsDataset) return word;
    throw refusal(`ROOT has to be ${zfsDataset}, not ${quoted(word)}`);
  },
};

export const DATASET = below('DATASET', 'instances/x', isDataset);
export const SNAPSHOT = below('SNAPSHOT', 'instances/x@base', isSnapshot);
/** A dataset or a snapshot. */
export const NAME = below('NAME', 'instances/x', (word) => isDataset(word) || isSnapshot(word));

export const BYTES: Operand = {
  name: 'BYTES',
  take: (word) => {
    const bytes = /^[1-9][0-9]{0,14}$/.test(word) ? Number(word) : 0;
    if (bytes >= BYTES_UNIT && bytes <= MOST_BYTES && bytes % BYTES_UNIT === 0) return word;
    throw refusal(
      `BYTES has to be a multiple of ${String(BYTES_UNIT)} of at most ${String(MOST_BYTES)}, not ${quoted(word)}`,
    );
  },
};

/** The size of a volume that is there. */
export const SIZE: Operand = {
  name: 'volsize=BYTES',
  begins: 'volsize=',
  take: (word, configuration) => `volsize=${BYTES.take(word.slice('volsize='.length), configuration)}`,
};

/** The file of an image. Which one that is in the end is looked at once more when it is open (volume-copy.ts). */
export const SOURCE: Operand = {
  name: 'SOURCE',
  take: (word, { imagesDirectory }) => {
    if (!isPath(word) || !word.startsWith(`${imagesDirectory}/`))
      throw refusal(`SOURCE has to be a file strictly below ${imagesDirectory}, not ${quoted(word)}`);
    assertCanonical(word);
    return word;
  },
};

/** Whether a clone has a device. It never is looked into for partitions, which a guest could write. */
export const VOLUME_MODE: Operand = {
  name: 'volmode=dev|none',
  take: (word) => {
    if (word === 'volmode=dev' || word === 'volmode=none') return word;
    throw refusal(`the property has to be volmode=dev or volmode=none, not ${quoted(word)}`);
  },
};

/**
 * The property that says whose the dataset is. Its path is compared before it is looked at: root looks at no path that a
 * caller has made up.
 */
export const OWNER: Operand = {
  name: 'offshoot:state_directory=PATH',
  take: (word, { stateDirectory }) => {
    if (word !== `offshoot:state_directory=${stateDirectory}`)
      throw refusal(
        `the property has to be offshoot:state_directory=${stateDirectory}, which the configuration names, not ${quoted(word)}`,
      );
    assertCanonical(stateDirectory);
    return word;
  },
};
