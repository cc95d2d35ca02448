import type { Summary } from './statistics.js';

/** Cells under N, P50, P95 and MAX, in milliseconds; empty ones for what was not measured. */
export function summaryRow(what: string, summary: Summary | undefined): string[] {
  if (summary === undefined) return [what, '', '', '', ''];
  return [what, String(summary.samples), ...[summary.p50, summary.p95, summary.max].map(shortNumber)];
}

export const shortNumber = (value: number): string => (value < 100 ? value.toFixed(1) : value.toFixed(0));
