import { InvalidInput } from '@offshoot/shared/errors.js';

/** A page goes on after the id that the one before ended with. @throws InvalidInput */
export function parsePageToken<Id>(token: string, parseId: (text: string) => Id): Id {
  try {
    return parseId(token);
  } catch (error) {
    throw new InvalidInput('page_token: must be the next_page_token of an earlier answer', {
      reason: 'PAGE_TOKEN_MALFORMED',
      violations: [{ field: 'page_token', description: 'must be the next_page_token of an earlier answer' }],
      cause: error,
    });
  }
}
