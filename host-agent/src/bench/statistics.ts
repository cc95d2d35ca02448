/** What is told of a series of times, in milliseconds. */
export interface Summary {
  readonly samples: number;
  readonly p50: number;
  readonly p95: number;
  readonly max: number;
}

/** @throws RangeError for an empty series */
export function summarize(times: readonly number[]): Summary {
  return { samples: times.length, p50: quantile(times, 0.5), p95: quantile(times, 0.95), max: quantile(times, 1) };
}

/** The value that a share of the series does not exceed, between two samples in proportion (type 7 of Hyndman and Fan). */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const position = (sorted.length - 1) * share;
  const below = sorted[Math.floor(position)];
  const above = sorted[Math.ceil(position)];
  if (below === undefined || above === undefined) throw new RangeError('a quantile of no values');
  return below + (above - below) * (position - Math.floor(position));
}

/** Times by what was timed. */
export class Series<Name extends string> {
  private readonly times = new Map<Name, number[]>();

  add(name: Name, ms: number): void {
    const times = this.times.get(name);
    if (times === undefined) this.times.set(name, [ms]);
    else times.push(ms);
  }

  /** In the order in which the names first came; a name that never came is missing. */
  summaries(): Partial<Record<Name, Summary>> {
    const entries = [...this.times].map(([name, times]) => [name, summarize(times)] as const);
    return Object.fromEntries(entries) as Partial<Record<Name, Summary>>;
  }
}
