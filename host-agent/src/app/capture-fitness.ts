import { Corrupt, InvalidState } from '@offshoot/shared/errors.js';
import type { Capture, Instance } from '../domain/instance.js';
import type { Context } from './context.js';

/** The capture of a parked instance or a snapshot, fit for this host's network. @throws Corrupt, InvalidState showing both values */
export function captureFor(
  { network }: Pick<Context, 'network'>,
  { name, capture }: Pick<Instance, 'name' | 'capture'>,
): Capture {
  if (capture === undefined) throw new Corrupt(`${name} has no capture on record`, { reason: 'CAPTURE_MISSING' });
  const { mode } = network.status;
  // The network card's offloads are part of the device state, and a TAP offers others than QEMU's own stack.
  if (capture.networkMode !== mode)
    throw new InvalidState(
      `${name} was captured with network mode ${capture.networkMode}, this daemon runs with ${mode}: start it with network.mode ${capture.networkMode}`,
      { reason: 'NETWORK_MODE_MISMATCH', metadata: { captured: capture.networkMode, here: mode } },
    );
  return capture;
}
