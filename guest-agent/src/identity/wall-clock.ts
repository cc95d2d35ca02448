import { setRealTime } from '../os/libc.js';

/** A call's way to us can take this long under emulation: a clock that is behind by less is left alone, in milliseconds. */
const CALL_DELAY_MS = 100;

/** The wall clock of this VM, to the microsecond and better. */
export const wallClock = {
  now: (): number => Date.now(),
  set: (unixMs: number): void => {
    setRealTime(unixMs);
  },
};

/**
 * Sets a clock forward that stood still while the VM did. Never back: a VM that only ran on is right, and the host's time is
 * late by the way it took. Returns the step in milliseconds, 0 when there was none.
 */
export function catchUp(clock: typeof wallClock, hostTimeMs: number): number {
  const behind = hostTimeMs - clock.now();
  if (behind < CALL_DELAY_MS) return 0;
  clock.set(hostTimeMs);
  return behind;
}
