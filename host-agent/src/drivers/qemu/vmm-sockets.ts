import { existsSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { MachineSpec } from '../../ports/driver.js';

/** Where a VMM's sockets are. */
export interface VmmSockets {
  readonly qmp: string;
  readonly channel: string;
}

type RunDirectory = Pick<MachineSpec, 'runDirectory'>;

export const socketsOf = ({ runDirectory }: RunDirectory): VmmSockets => ({
  qmp: join(runDirectory, 'qmp.sock'),
  channel: join(runDirectory, 'channel.sock'),
});

/** Of a VMM that is to take another's place; names no longer than those, because a socket's path must not be long. */
export const successorSocketsOf = ({ runDirectory }: RunDirectory): VmmSockets => ({
  qmp: join(runDirectory, 'qmp.new'),
  channel: join(runDirectory, 'channel.new'),
});

/** Gives the successor's sockets the usual names, over those of the VMM it succeeds; none that has its name already. */
export function promoteSockets(spec: RunDirectory): void {
  const from = successorSocketsOf(spec);
  const to = socketsOf(spec);
  for (const key of ['qmp', 'channel'] as const) if (existsSync(from[key])) renameSync(from[key], to[key]);
}

/** Removes what a killed VMM leaves behind. */
export function removeSockets({ qmp, channel }: VmmSockets): void {
  rmSync(qmp, { force: true });
  rmSync(channel, { force: true });
}
