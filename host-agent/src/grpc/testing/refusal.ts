import { InvalidInput } from '@offshoot/shared/errors.js';

/** Fields and reason of what a parse refuses; undefined when it refuses nothing. */
export function refusal(parse: () => unknown): { fields: string[]; reason: string; text: string } | undefined {
  try {
    parse();
    return undefined;
  } catch (error) {
    if (!(error instanceof InvalidInput)) throw error;
    return { fields: error.violations.map(({ field }) => field), reason: error.reason, text: error.message };
  }
}

/** A Duration of so many seconds. */
export const seconds = (value: number) => ({
  seconds: BigInt(Math.trunc(value)),
  nanos: Math.round((value - Math.trunc(value)) * 1e9),
});
