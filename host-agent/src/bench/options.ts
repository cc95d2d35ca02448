import { InvalidArgumentError, Option } from 'commander';

export interface BenchOptions {
  /** Measured forks for each size; warm-up comes on top. */
  readonly forks: number;
  /** Guest memory of each round, in MiB, ascending. */
  readonly memory: readonly number[];
  /** Measures captures of running VMs and generations of forks instead. */
  readonly captures?: true;
  /** Measures searches for mailboxes, deliveries and indexes instead. */
  readonly mailboxes?: true;
  /** Measures restarts of the daemon with and without that many running forks instead. */
  readonly restarts?: true;
}

const MIB_RANGE = { min: 128, max: 65_536 } as const;
const MAX_FORKS = 1000;

export const OPTIONS = [
  new Option('--forks <N>', 'measured forks for each size of memory').argParser(parseForks).default(20),
  new Option('--memory <MiB[,MiB]>', 'sizes of guest memory').argParser(parseMemory).default([512, 2048], '512,2048'),
  new Option(
    '--captures',
    'measure captures of running VMs and forks of forks instead of the rounds beside stock QEMU',
  ),
  new Option(
    '--mailboxes',
    'measure searches for mailboxes, deliveries and indexes instead of the rounds beside stock QEMU',
  ).conflicts('captures'),
  new Option(
    '--restarts',
    'measure restarts of the daemon with so many forks that run instead of the rounds beside stock QEMU',
  ).conflicts(['captures', 'mailboxes']),
] as const;

/** @throws InvalidArgumentError */
export function parseForks(text: string): number {
  return wholeNumber(text, 1, MAX_FORKS);
}

/** Sizes in MiB, ascending, each once. @throws InvalidArgumentError */
export function parseMemory(text: string): number[] {
  const sizes = text.split(',').map((part) => wholeNumber(part.trim(), MIB_RANGE.min, MIB_RANGE.max));
  const odd = sizes.find((size) => size % 2 !== 0);
  if (odd !== undefined) throw new InvalidArgumentError(`must be multiples of 2 MiB, got ${String(odd)}`);
  return [...new Set(sizes)].sort((a, b) => a - b);
}

function wholeNumber(text: string, min: number, max: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw new InvalidArgumentError(
    `must be whole numbers from ${String(min)} to ${String(max)}, got ${JSON.stringify(text)}`,
  );
}
