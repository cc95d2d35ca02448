import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const preload = fileURLToPath(new URL('file-steps.mjs', import.meta.url));

/** A call of node:fs that has ended. */
export interface FileStep {
  readonly call: string;
  /** Relative to the folder that is watched. */
  readonly place: string;
  /** Something in the folder is not as it was at the step before. */
  readonly changed: boolean;
}

/** What a process does in a folder, call by call, and its end right after any of them. */
export class FileSteps implements Disposable {
  private readonly folder = mkdtempSync(join(tmpdir(), 'offshoot-steps-'));

  /** @param watched absolute; is there before the process is */
  constructor(private readonly watched: string) {}

  /** For the process. */
  get environment(): Readonly<Record<string, string>> {
    return {
      NODE_OPTIONS: `--import=${preload}`,
      OFFSHOOT_TEST_FOLDER: this.folder,
      OFFSHOOT_TEST_WATCHED: this.watched,
    };
  }

  /** The steps that `work` takes, in order. */
  async of(work: () => Promise<unknown>): Promise<readonly FileStep[]> {
    const steps = join(this.folder, 'steps');
    writeFileSync(steps, '');
    await work();
    const lines = readFileSync(steps, 'utf8').split('\n').filter(Boolean);
    return lines.map((line) => JSON.parse(line) as FileStep);
  }

  /** Begins `work`, and has the process killed after so many steps. @throws when the work came to its end */
  async killAfter(steps: number, work: () => Promise<unknown>): Promise<void> {
    const order = join(this.folder, 'order');
    writeFileSync(order, String(steps));
    try {
      const answered = await work().then(
        () => true,
        () => false,
      );
      if (answered) throw new Error(`the call was answered before step ${String(steps)}`);
      if (readFileSync(order, 'utf8') !== '0') throw new Error(`the call failed before step ${String(steps)}`);
    } finally {
      rmSync(order);
    }
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true });
  }
}
