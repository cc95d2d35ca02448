import type { ImageId } from '../../domain/ids.js';
import type { CapturePaths } from '../../paths.js';

/** A component of a name, as ZFS allows it but for blanks (zfsconcepts(7)): never `.` or `..`, nor what looks like an option. */
const COMPONENT = String.raw`(?!\.{1,2}(?:/|@|$))[A-Za-z0-9_][A-Za-z0-9_.:-]*`;
const DATASET = new RegExp(`^${COMPONENT}(?:/${COMPONENT})*$`);
const SNAPSHOT = new RegExp(`^${COMPONENT}(?:/${COMPONENT})*@${COMPONENT}$`);
/** ZFS_MAX_DATASET_NAME_LEN with its NUL. */
const MAX_LENGTH = 255;

export const isDatasetName = (name: string): boolean => DATASET.test(name) && name.length <= MAX_LENGTH;

/** Of the snapshot that is a base's or a moment's content: where it is there, they are complete. */
export const COMPLETE = 'base';

/**
 * Names of what the daemon keeps below the one dataset it was given: `base/IMAGE@base`, `instances/ID`, `snapshots/ID@base`.
 * What is not strictly below that is none of its business.
 */
export class DatasetTree {
  readonly groups;

  constructor(readonly root: string) {
    this.groups = { bases: `${root}/base`, instances: `${root}/instances`, moments: `${root}/snapshots` } as const;
  }

  /** Whether a dataset or a snapshot is one of the daemon's: a strict descendant, well formed. */
  contains(name: string): boolean {
    const wellFormed = (DATASET.test(name) || SNAPSHOT.test(name)) && name.length <= MAX_LENGTH;
    return wellFormed && name.startsWith(`${this.root}/`);
  }

  base(image: ImageId): string {
    return `${this.groups.bases}/${image}`;
  }

  moment({ id }: CapturePaths): string {
    return `${this.groups.moments}/${id}`;
  }

  /** An instance's disk. It has another one for the time its files are being replaced, and that one's name from then on. */
  instance({ id }: CapturePaths): readonly [string, string] {
    const name = `${this.groups.instances}/${id}`;
    return [name, `${name}-next`];
  }

  isMoment(name: string): boolean {
    return name.startsWith(`${this.groups.moments}/`);
  }

  /** Whether a snapshot stays though no disk stands on it: it is the content of something. */
  isContent(snapshot: string): boolean {
    const [dataset = '', label] = snapshot.split('@');
    return label === COMPLETE && (this.isMoment(dataset) || dataset.startsWith(`${this.groups.bases}/`));
  }
}

export const leafOf = (dataset: string): string => dataset.slice(dataset.lastIndexOf('/') + 1);
export const datasetOf = (snapshot: string): string => snapshot.slice(0, snapshot.indexOf('@'));
export const labelOf = (snapshot: string): string => snapshot.slice(snapshot.indexOf('@') + 1);
