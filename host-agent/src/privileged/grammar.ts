import { BRIDGE, COUNT, KEEPER, PORTS, SUBNET, TABLE } from './network-operands.js';
import { BYTES, DATASET, NAME, OWNER, ROOT, SIZE, SNAPSHOT, SOURCE, VOLUME_MODE, type Operand } from './operands.js';
import { refusal } from './refusal.js';

interface Shape {
  /** Every word of a call in its order, none more: a fixed one, or an operand. */
  readonly words: readonly (string | Operand)[];
}

/** A question about the helper itself. */
export interface Question extends Shape {
  readonly answer: 'version' | 'capabilities';
}

/** Words that lead to a program. Its arguments are those words, the first left out, as their operands give them. */
export interface Errand extends Shape {
  readonly program: Program;
  /** What operands have to be to each other. @throws InvalidInput */
  readonly rule?: (args: readonly string[]) => void;
}

/** What the helper does itself. */
export type DeedName = NetworkDeed | 'fill volume';
export type NetworkDeed = 'make keeper' | 'make bridge' | 'make taps' | 'open ports' | 'remove network';

/** Words that lead to something the helper does itself, with them but for the first. */
export interface Deed extends Shape {
  readonly deed: DeedName;
}

export type Command = Question | Errand | Deed;

/** Programs that root runs as they are. */
export type Program = 'zfs';

const zfs = (...words: readonly (string | Operand)[]): Errand => ({ words: ['zfs', ...words], program: 'zfs' });

const network = (deed: NetworkDeed, ...words: readonly (string | Operand)[]): Deed => ({ words, deed });

/**
 * Every command there is; the first that fits counts. Those of zfs are the daemon's (storage/zfs/zfs-datasets.ts,
 * open-zfs.ts), word by word. Only `destroy -r` is ever recursive: `-R` would take along clones that are elsewhere. Those of the
 * network (network/helper-tap-host.ts) name what follows from the configuration, so that a daemon with another one is told.
 */
export const GRAMMAR: readonly Command[] = [
  { words: ['version'], answer: 'version' },
  { words: ['capabilities'], answer: 'capabilities' },
  zfs('list', '-H', '-d', '0', '-o', 'name', ROOT),
  zfs('get', '-H', '-o', 'value', 'offshoot:state_directory', ROOT),
  zfs('set', SIZE, DATASET),
  zfs('set', OWNER, ROOT),
  zfs('list', '-H', '-o', 'name', NAME),
  zfs('list', '-H', '-o', 'origin', DATASET),
  zfs('list', '-H', '-p', '-o', 'available', DATASET),
  zfs('list', '-H', '-p', '-o', 'used,usedbydataset,referenced', DATASET),
  zfs('list', '-H', '-d', '1', '-t', 'volume', '-o', 'name', DATASET),
  zfs('list', '-H', '-d', '1', '-t', 'snapshot', '-s', 'createtxg', '-o', 'name,clones', DATASET),
  zfs('create', '-o', 'mountpoint=none', DATASET),
  zfs('create', '-s', '-o', 'volmode=dev', '-V', BYTES, DATASET),
  zfs('snapshot', SNAPSHOT),
  zfs('clone', '-o', VOLUME_MODE, SNAPSHOT, DATASET),
  zfs('promote', DATASET),
  { ...zfs('rename', SNAPSHOT, SNAPSHOT), rule: withinOneDataset },
  zfs('destroy', SNAPSHOT),
  zfs('destroy', '-r', DATASET),
  { words: ['copy', SOURCE, DATASET], deed: 'fill volume' },
  network('make keeper', 'tap', 'create', KEEPER),
  network('make bridge', 'bridge', 'create', BRIDGE, SUBNET),
  network('make taps', 'tap', 'create', BRIDGE, SUBNET, COUNT),
  network('open ports', 'nftables', 'set', TABLE, PORTS),
  network('remove network', 'bridge', 'delete', BRIDGE),
];

function withinOneDataset([, from = '', to = '']: readonly string[]): void {
  if (from.split('@')[0] === to.split('@')[0]) return;
  throw refusal('a snapshot is renamed within its dataset: both SNAPSHOTs have to begin alike, up to their @');
}

export const usageOf = ({ words }: Command): string =>
  words.map((word) => (typeof word === 'string' ? word : word.name)).join(' ');
