import { InvalidInput } from '@offshoot/shared/errors.js';

/** What is wrong with a call, and what would be right. */
export const refusal = (message: string): InvalidInput => new InvalidInput(message, { reason: 'HELPER_CALL_REFUSED' });

/** Most characters of a caller's word that are shown: more tells nobody anything, and a line has to end. */
const SHOWN = 200;

/** A caller's word in quotes, as one piece of one line that no terminal takes for anything else. */
export const quoted = (word: string): string =>
  onOneLine(JSON.stringify(word.length > SHOWN ? `${word.slice(0, SHOWN)}…` : word));

/** Everything but printable ASCII spelled as in JSON: also the controls, line ends and directions of Unicode. */
export const onOneLine = (text: string): string =>
  text.replace(/[^\x20-\x7e]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
