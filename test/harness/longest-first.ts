import { BaseSequencer, type TestSpecification } from 'vitest/node';

/**
 * The files that take longest, longest first (447 and 184 s on two processors; the next one takes 130). On a new checkout
 * vitest knows no durations and starts what has most bytes first: these two, which are short, would come near the end, and
 * the last of them would run for minutes beside an idle processor.
 */
const LONGEST: readonly string[] = ['test/e2e/kill-at-step.test.ts', 'test/e2e/cancel-at-step.test.ts'];

/** Unit tests, which say soonest what is wrong; then the files that take longest; then all others, in vitest's order. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ project, moduleId }: TestSpecification): number => {
      if (project.name === 'unit') return -1;
      const index = LONGEST.findIndex((name) => moduleId.endsWith(`/${name}`));
      return index < 0 ? LONGEST.length : index;
    };
    // Stable: what has the same rank stays as it is.
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}
