import type { InstanceId } from '../domain/ids.js';
import { LIVE_STATES } from '../domain/instance-state.js';
import type { VmExit } from '../ports/driver.js';
import type { Dependencies } from './dependencies.js';
import { settleDisk } from './disk-layer.js';
import { exitReason } from './failure.js';
import { changed, save } from './instance-record.js';

/** A VMM went by itself: powered off by its guest, or anything else, which is a failure. */
export async function recordExit(
  { store, files, paths, logger, disks }: Dependencies,
  id: InstanceId,
  exit: VmExit,
): Promise<void> {
  const instance = store.byId(id);
  if (instance === undefined || !LIVE_STATES.includes(instance.state)) return;
  // It may have ended while its disk was getting a layer.
  await settleDisk({ disks, paths, logger }, instance);
  const poweredOff = exit.cause === 'powered-off';
  const stateReason = poweredOff ? '' : await exitReason(exit, paths.instance(id));
  logger.warn({ instance: id, name: instance.name, exit }, poweredOff ? 'guest powered off' : 'hypervisor died');
  await save({ store, files }, changed(instance, poweredOff ? 'STOPPED' : 'FAILED', { vmm: undefined, stateReason }), {
    durable: true,
  });
}
