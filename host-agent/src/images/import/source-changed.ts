import { InvalidState } from '@offshoot/shared/errors.js';

export const sourceChanged = (path: string, cause?: unknown): InvalidState =>
  new InvalidState(`${path} was changed while it was imported: try again`, {
    reason: 'IMAGE_SOURCE_CHANGED',
    metadata: { path },
    cause,
  });
