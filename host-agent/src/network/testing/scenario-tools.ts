import { OffshootError } from '@offshoot/shared/errors.js';
import pino from 'pino';
import type { Network } from '../../ports/network.js';
import { openNetwork, type NetworkOptions } from '../open-network.js';
import { asRoot, helperOfWorld } from './scenario-world.js';

const SUBNET = '10.213.0.0/20';
export const GATEWAY = { mac: '02:4f:0a:d5:00:01', ipv4: '10.213.0.1' };
/** An address of the host that guests have no business with. */
export const ELSEWHERE = '192.0.2.1';

export const options = (stateDirectory: string, more: Partial<NetworkOptions> = {}): NetworkOptions => ({
  mode: 'tap',
  subnet: SUBNET,
  stateDirectory,
  logger: pino({ level: 'silent' }),
  ...helperOfWorld(),
  ...more,
});

export interface Thrown {
  readonly kind: string;
  readonly reason: string;
  readonly message: string;
}

/** What an action throws; null where nothing. */
export async function outcomeOf(action: () => unknown): Promise<Thrown | null> {
  try {
    await action();
    return null;
  } catch (error) {
    if (error instanceof OffshootError) return { kind: error.kind, reason: error.reason, message: error.message };
    throw error;
  }
}

export async function errorOf(action: () => unknown): Promise<Thrown> {
  const outcome = await outcomeOf(action);
  if (outcome === null) throw new Error('no error');
  return outcome;
}

/** Index, name and master of the bridge and the TAPs of instances: `N: NAME: <...> ... master BRIDGE ...`. */
export async function ports(): Promise<string[]> {
  const stdout = await asRoot('ip', '-o', 'link');
  return stdout.split('\n').flatMap((line) => {
    const match = /^(\d+: of(?:br|t)-\S+):.*?(master \S+|$)/.exec(line);
    return match === null ? [] : [`${String(match[1])} ${String(match[2])}`.trim()];
  });
}

export async function withNetwork<Result>(
  stateDirectory: string,
  use: (network: Network) => Promise<Result>,
  more: Partial<NetworkOptions> = {},
): Promise<Result> {
  await asRoot('ip', 'link', 'set', 'lo', 'up');
  const network = await openNetwork(options(stateDirectory, more));
  try {
    return await use(network);
  } finally {
    await network.close({ inUse: false });
  }
}
