import { closeSync, writeSync } from 'node:fs';
import { onOneLine, quoted } from './refusal.js';
import { openToAppend } from './root-owned-file.js';

/** One call, as the log has it. */
export interface CallEntry {
  readonly time: Date;
  /** User id of who ran sudo, as sudo gives it. */
  readonly caller: string;
  /** undefined: carried out. */
  readonly refused: string | undefined;
  readonly call: readonly string[];
}

/** The longest command has 13 words. */
const SHOWN_WORDS = 16;

/** Without its line end: printable ASCII, whatever the caller gave. */
export function formatEntry({ time, caller, refused, call }: CallEntry): string {
  const words = call.slice(0, SHOWN_WORDS).map(quoted);
  const more = call.length > SHOWN_WORDS ? ` and ${String(call.length - SHOWN_WORDS)} more` : '';
  const outcome = refused === undefined ? 'carried out' : 'refused';
  const why = refused === undefined ? '' : `: ${onOneLine(refused)}`;
  const user = /^\d{1,10}$/.test(caller) ? caller : 'unknown';
  return `${time.toISOString()} user ${user} ${outcome} [${words.join(' ')}${more}]${why}`;
}

/**
 * Adds an entry to a log that is root's alone; by one write(2), so that those of calls at the same time do not mix.
 * @throws InvalidInput as {@link openToAppend}; system errors
 */
export function appendEntry(path: string, entry: CallEntry): void {
  const fd = openToAppend(path);
  try {
    writeSync(fd, `${formatEntry(entry)}\n`);
  } finally {
    closeSync(fd);
  }
}
