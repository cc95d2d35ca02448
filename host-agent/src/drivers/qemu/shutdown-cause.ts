import type { ShutdownCause } from '../../ports/driver.js';

/** QEMU's `ShutdownCause` (qapi/run-state.json), which its SHUTDOWN event gives as the reason. Others are faults of its own. */
const CAUSES: Readonly<Record<string, ShutdownCause>> = {
  'guest-shutdown': 'powered-off',
  'guest-reset': 'reset', // we start it with -no-reboot
  'guest-panic': 'panicked',
  'host-qmp-quit': 'told-to',
  'host-signal': 'told-to',
  'host-ui': 'told-to',
};

/** @param reason of the SHUTDOWN event; undefined when there was none */
export function shutdownCause(reason: string | undefined): { readonly cause?: ShutdownCause } {
  const cause = reason === undefined ? undefined : CAUSES[reason];
  return cause === undefined ? {} : { cause };
}
