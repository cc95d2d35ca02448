import { quantile } from '@offshoot/host-agent/bench/statistics.js';

/**
 * Takes each way in turn, round after round, so that what else the machine does meets all of them.
 * @param after tidies up, untimed
 * @returns the median of each in milliseconds, for people
 */
export async function timeInTurn(
  ways: Readonly<Record<string, () => Promise<unknown>>>,
  rounds: number,
  after: (name: string) => Promise<void>,
): Promise<string> {
  const times = new Map(Object.keys(ways).map((name) => [name, [] as number[]]));
  for (let round = 0; round < rounds; round++)
    for (const [name, way] of Object.entries(ways)) {
      const started = performance.now();
      await way();
      times.get(name)!.push(performance.now() - started);
      await after(name);
    }
  const told = [...times].map(([name, ms]) => `${name} ${quantile(ms, 0.5).toFixed(1)} ms`);
  return `${String(rounds)} rounds, p50: ${told.join(', ')}`;
}
