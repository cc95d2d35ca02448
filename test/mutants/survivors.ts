import { MutantJudges, type MutationSubject } from './mutant-judges.js';
import { isCheck } from './mailbox-checks.js';
import type { Mutant } from './mutants.js';

/** What came of taking each check out. */
export interface MutationOutcome {
  /** Mutants that were tried. */
  readonly tried: number;
  /** Those that no test fails with. */
  readonly survivors: readonly Mutant[];
}

/**
 * Tries all mutants of a subject, two at a time.
 * @throws Error when a test fails without any of them
 */
export async function survivorsOf(subject: MutationSubject): Promise<MutationOutcome> {
  await using one = await MutantJudges.assemble(subject);
  await using other = await MutantJudges.assemble(subject);
  const fails = await one.failsAnyway();
  if (fails !== undefined) throw new Error(`fails without any mutant: ${fails}`);
  const mutants = one.mutants.filter(isCheck);
  const queue = mutants[Symbol.iterator]();
  const survivors: Mutant[] = [];
  const judge = async (judges: MutantJudges): Promise<void> => {
    // One queue for both: each takes the next.
    for (const mutant of queue) if ((await judges.noticedBy(mutant)) === undefined) survivors.push(mutant);
  };
  await Promise.all([judge(one), judge(other)]);
  return { tried: mutants.length, survivors };
}

/** A survivor as one reads it. */
export const described = ({ file, line, check, instead }: Mutant): string =>
  `${file}:${String(line)}: no test fails with ${instead === '' ? 'nothing' : instead} for ${check}`;
