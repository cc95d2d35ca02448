import type { ImageId, InstanceId } from '../domain/ids.js';
import type { Instance } from '../domain/instance.js';
import type { InstanceState } from '../domain/instance-state.js';

export interface InstanceFilter {
  readonly states?: readonly InstanceState[];
  readonly labels?: Readonly<Record<string, string>>;
  /** Only those whose disks are made of this one. */
  readonly image?: ImageId;
  /** Only ids after this one. */
  readonly after?: InstanceId;
  readonly limit?: number;
}

/** The rows of instances, each mirrored by `instance.json` in the instance's folder once that exists. */
export interface InstanceStore {
  /** @throws AlreadyExists when the name is taken */
  insert(instance: Instance): void;
  /** Replaces the row with the same id. */
  update(instance: Instance): void;
  delete(id: InstanceId): void;
  byId(id: InstanceId): Instance | undefined;
  /** @throws AlreadyExists */
  assertNameFree(name: string): void;
  /** By id, then name, then unambiguous id prefix of at least 6 characters. @throws NotFound, or InvalidInput for an ambiguous prefix */
  resolve(reference: string): Instance;
  /** In order of creation. */
  list(filter?: InstanceFilter): Instance[];
  count(states?: readonly InstanceState[]): number;
  /** Slots of the address pool in use. */
  usedSlots(): ReadonlySet<number>;
}
