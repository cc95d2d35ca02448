import type { ForkInstanceCommand, ForkTimings } from './commands.js';
import type { ForkOrigin } from './fork-base.js';
import type { InstanceDraft } from './new-instance.js';

/** What a fork takes over from its source, and what its caller gives it; the rest is its own. */
export function forkDraft(
  { id, snapshot, imageId, driver, storage, vcpus, memoryBytes, diskBytes, agent }: ForkOrigin,
  { name, labels }: Pick<ForkInstanceCommand, 'name' | 'labels'>,
): InstanceDraft {
  return {
    name,
    labels,
    imageId,
    driver,
    storage,
    vcpus,
    memoryBytes,
    forkedFrom: id,
    ...(diskBytes === undefined ? {} : { diskBytes }),
    ...(snapshot === undefined ? {} : { forkedFromSnapshot: snapshot }),
    ...(agent === undefined ? {} : { agent }),
  };
}

/** Of phases a fork did not go through. */
export const NO_TIME: Omit<ForkTimings, 'sourcePause'> = {
  clone: 0,
  spawn: 0,
  load: 0,
  patch: 0,
  resume: 0,
  network: 0,
  ack: 0,
  total: 0,
};
