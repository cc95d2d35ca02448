import Table from 'cli-table3';
import { printable } from './format-values.js';

const NO_BORDERS = Object.fromEntries(
  [
    'top',
    'top-mid',
    'top-left',
    'top-right',
    'bottom',
    'bottom-mid',
    'bottom-left',
    'bottom-right',
    'left',
    'left-mid',
    'mid',
    'mid-mid',
    'right',
    'right-mid',
    'middle',
  ].map((part) => [part, '']),
);

const STYLE = { 'padding-left': 0, 'padding-right': 3, head: [], border: [], compact: true };

/** Columns under capitals, as people and `awk` read them. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const drawn = new Table({ head: [...head], chars: NO_BORDERS, style: STYLE });
  drawn.push(...rows.map((row) => row.map((cell) => (cell === '' ? '-' : printable(cell)))));
  return trimmed(drawn);
}

/** One fact a line; empty ones are left out. */
export function facts(entries: readonly (readonly [string, string])[]): string {
  const drawn = new Table({ chars: NO_BORDERS, style: STYLE });
  drawn.push(...entries.filter(([, value]) => value !== '').map(([name, value]) => [`${name}:`, printable(value)]));
  return trimmed(drawn);
}

const trimmed = (drawn: { toString(): string }): string => drawn.toString().replace(/[ ]+$/gm, '');
