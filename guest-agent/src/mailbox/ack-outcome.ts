import { Aborted, Timeout } from '@offshoot/shared/errors.js';

/** How long the host has to confirm an acknowledgement, in milliseconds, whichever way it goes: as long as it may wait for one. */
export const ACK_GIVE_UP_MS = 30_000;

export const ackUnconfirmed = (): Timeout =>
  new Timeout(`the host did not confirm in ${String(ACK_GIVE_UP_MS / 1000)} s`, { reason: 'ACK_UNCONFIRMED' });

export const ackSuperseded = (): Aborted =>
  new Aborted('the acknowledgement was superseded', { reason: 'ACK_SUPERSEDED' });
