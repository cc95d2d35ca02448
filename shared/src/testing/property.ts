import fc from 'fast-check';

/** Cases that each property is tried with. `make fuzz` asks for more. */
export const FUZZ_CASES = Number(process.env.OFFSHOOT_FUZZ_CASES ?? 100_000);

/** For the `timeout` of tests with properties: far more than they take, and more with more cases. */
export const FUZZ_TIMEOUT_MS = Math.max(60_000, FUZZ_CASES * 0.6);

/** The seed of a failure to be looked at again; undefined: another one each time. */
const SEED = process.env.OFFSHOOT_FUZZ_SEED;

/**
 * Tries a property with so many cases. A failure shows the counterexample, smallest that was found, and its seed:
 * `OFFSHOOT_FUZZ_SEED=<seed>` makes the same cases again.
 * @param casesInRun how many cases one run of the property looks at, where setting one up costs more than looking at it
 */
export function holds<Values>(property: fc.IProperty<Values>, casesInRun = 1): void {
  fc.assert(property, parameters(casesInRun));
}

/** As {@link holds}, for a property that waits for something. */
export async function holdsAsync<Values>(property: fc.IAsyncProperty<Values>, casesInRun = 1): Promise<void> {
  await fc.assert(property, parameters(casesInRun));
}

function parameters(casesInRun: number): { numRuns: number; seed?: number } {
  const numRuns = Math.ceil(FUZZ_CASES / casesInRun);
  return SEED === undefined ? { numRuns } : { numRuns, seed: Number(SEED) };
}
