import { InvalidInput } from '@offshoot/shared/errors.js';

/** What a tar says cannot be, or is cut short. */
export const malformedTar = (problem: string): InvalidInput =>
  new InvalidInput(`the tar is damaged: ${problem}`, { reason: 'TAR_MALFORMED' });
