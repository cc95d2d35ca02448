import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import {
  createVitest,
  type Reporter,
  type TestCase,
  type TestModule,
  type TestSpecification,
  type Vitest,
} from 'vitest/node';
import { findMutants, withMutants, type Mutant } from './mutants.js';

declare module 'vitest' {
  interface ProvidedContext {
    /** Number of the mutant that is on; -1 for none. */
    offshootMutant: number;
  }
}

/** Modules of the repository, and the tests that have to notice when a check of them is taken out. */
export interface MutationSubject {
  /** The repository. */
  readonly root: string;
  /** Paths from there. */
  readonly modules: readonly string[];
  /** Test files, as patterns from there. */
  readonly tests: readonly string[];
}

/** Cases of each property: a mutant that shows only once in thousands is not caught by every run of the tests either. */
const CASES = '600';

/**
 * Runs unit tests on mutants, one after the other in one vitest whose modules are compiled once with all mutants in them. Cases
 * are the same each time, so that a test which fails on a mutant fails because of it.
 */
export class MutantJudges implements AsyncDisposable {
  private constructor(
    readonly mutants: readonly Mutant[],
    private readonly vitest: Vitest,
    private readonly specifications: readonly TestSpecification[],
    private readonly verdict: Verdict,
    /** For the tests' files: one that hangs or is cut off leaves them. */
    private readonly temporary: string,
  ) {}

  static async assemble({ root, modules, tests }: MutationSubject): Promise<MutantJudges> {
    const mutants: Mutant[] = [];
    const mutated = new Map<string, string>();
    for (const module of modules) {
      const path = join(root, module);
      const text = readFileSync(path, 'utf8');
      mutated.set(path, withMutants(module, text, mutants.length));
      mutants.push(...findMutants(module, text));
    }
    const verdict = new Verdict();
    const temporary = mkdtempSync(join(tmpdir(), 'offshoot-mutants-'));
    const source = (path: string): string => join(root, path);
    const vitest = await createVitest(
      'test',
      {
        config: false,
        root,
        include: [...tests],
        watch: false,
        reporters: [verdict],
        // A process for each of those that judge at the same time: some tests count what theirs has open.
        pool: 'forks',
        isolate: false,
        maxWorkers: 1,
        testTimeout: 10_000,
        env: { TMPDIR: temporary, OFFSHOOT_FUZZ_CASES: CASES, OFFSHOOT_FUZZ_SEED: '1' },
        setupFiles: [source('test/mutants/switch-mutant.mjs')],
      },
      {
        resolve: {
          alias: [{ find: /^@offshoot\/(proto|shared)\/(.*)\.js$/, replacement: source('./$1/src/$2.ts') }],
        },
        plugins: [
          { name: 'offshoot-mutants', enforce: 'pre', transform: (_code, id) => mutated.get(id.replace(/\?.*$/, '')) },
        ],
      },
    );
    return new MutantJudges(mutants, vitest, await vitest.globTestSpecifications(), verdict, temporary);
  }

  /** The test that fails with this mutant; undefined when none does. */
  async noticedBy(mutant: Mutant): Promise<string | undefined> {
    const number = this.mutants.findIndex((each) => isDeepStrictEqual(each, mutant));
    const stem = mutant.file.replace(/\.ts$/, '');
    // Those beside the module mostly do, else those of its folder, and the examples among them in no time.
    const order = ({ moduleId }: TestSpecification): number =>
      (moduleId.includes(`${stem}.`) ? 0 : moduleId.includes(`${dirname(stem)}/`) ? 2 : 4) +
      (moduleId.includes('.property.') ? 1 : 0);
    for (const rank of [0, 1, 2, 3, 4, 5]) {
      const failed = await this.failing(
        number,
        this.specifications.filter((specification) => order(specification) === rank),
      );
      if (failed !== undefined) return failed;
    }
    return undefined;
  }

  /** The test that fails without any mutant: then all of this says nothing. */
  failsAnyway(): Promise<string | undefined> {
    return this.failing(-1, this.specifications);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.vitest.close();
    rmSync(this.temporary, { recursive: true, force: true });
  }

  private async failing(number: number, specifications: readonly TestSpecification[]): Promise<string | undefined> {
    if (specifications.length === 0) return undefined;
    this.vitest.provide('offshootMutant', number);
    this.verdict.begin(() => {
      // Not waited for here: the run cannot end while its reporter waits for the end.
      void this.vitest.cancelCurrentRun('test-failure');
    });
    const { unhandledErrors } = await this.vitest.runTestSpecifications([...specifications]);
    return this.verdict.failed ?? (unhandledErrors.length > 0 ? 'an error outside of tests' : undefined);
  }
}

/** The first test that fails in a run, and the end of that run. */
class Verdict implements Reporter {
  failed: string | undefined;
  private end: () => void = () => undefined;

  begin(end: () => void): void {
    this.failed = undefined;
    this.end = end;
  }

  onTestCaseResult(test: TestCase): void {
    if (test.result().state === 'failed') this.found(test.fullName);
  }

  onTestModuleEnd(module: TestModule): void {
    if (module.errors().length > 0) this.found(module.moduleId);
  }

  private found(what: string): void {
    if (this.failed !== undefined) return;
    this.failed = what;
    this.end();
  }
}
