import type { Configuration } from './configuration.js';
import { GRAMMAR, usageOf, type Command, type DeedName, type Program, type Question } from './grammar.js';
import { onOneLine, quoted, refusal } from './refusal.js';

/** What a call leads to. */
export type Order =
  | { readonly answer: Question['answer'] }
  | { readonly program: Program; readonly args: readonly string[] }
  | { readonly deed: DeedName; readonly args: readonly string[] };

/** @throws InvalidInput for whatever is not, word by word, one of the grammar's commands */
export function matchCall(call: readonly string[], configuration: Configuration): Order {
  const command = GRAMMAR.find((each) => hasFixedWords(each, call));
  if (command === undefined) throw unknown(call);
  if ('answer' in command) return { answer: command.answer };
  const args = command.words
    .map((word, i) => (typeof word === 'string' ? word : word.take(call[i] ?? '', configuration)))
    .slice(1);
  if ('deed' in command) return { deed: command.deed, args };
  command.rule?.(args);
  return { program: command.program, args };
}

const hasFixedWords = ({ words }: Command, call: readonly string[]): boolean =>
  words.length === call.length &&
  words.every((word, i) => (typeof word === 'string' ? word === call[i] : call[i]?.startsWith(word.begins ?? '')));

/** Names the commands that begin as the call does, as far as any do. */
function unknown(call: readonly string[]): Error {
  const shown = onOneLine(call.slice(0, 4).map(quoted).join(' '));
  let alike: readonly Command[] = GRAMMAR;
  for (const [i, word] of call.entries()) {
    const still = alike.filter(({ words }) => words[i] === word);
    if (still.length === 0) break;
    alike = still;
  }
  const usages = alike.map(usageOf).join('; ');
  return refusal(`${shown === '' ? 'a call of no words' : shown} is no command of the helper, which has: ${usages}`);
}
