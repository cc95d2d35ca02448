import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SqliteJournal } from '@offshoot/host-agent/state/sqlite-journal.js';
import { openStateDatabase } from '@offshoot/host-agent/state/state-database.js';
import { failureIfAny, type CallFailure } from './call-failure.js';
import { DAEMON_WITH_STEPS } from './build-daemons.js';
import { TestHost, type TestHostOptions } from './test-host.js';

/** What the daemon said of an operation that the one before had not ended. */
export interface CutShort {
  readonly operation: string;
  readonly step: string;
  readonly outcome: 'finished' | 'undone';
  readonly requestId?: string;
}

/** A host whose daemon lists the steps that its operations take, and can be killed right after any of them. */
export class CutShortHost implements AsyncDisposable {
  private constructor(
    readonly host: TestHost,
    private readonly folder: string,
  ) {}

  static async start({ settings = {} }: Pick<TestHostOptions, 'settings'> = {}): Promise<CutShortHost> {
    const folder = mkdtempSync(join(tmpdir(), 'offshoot-steps-'));
    const environment = { OFFSHOOT_TEST_FOLDER: folder };
    try {
      return new CutShortHost(await TestHost.start({ settings, environment, program: DAEMON_WITH_STEPS }), folder);
    } catch (error) {
      rmSync(folder, { recursive: true });
      throw error;
    }
  }

  private get steps(): string {
    return join(this.folder, 'steps');
  }

  /** The step after which something is to happen, while there is one. */
  private get order(): string {
    return join(this.folder, 'order');
  }

  /** The steps that `work` takes, as "operation: step", in order. */
  async stepsOf(work: () => Promise<unknown>): Promise<readonly string[]> {
    writeFileSync(this.steps, '');
    await work();
    return readFileSync(this.steps, 'utf8').split('\n').filter(Boolean);
  }

  /**
   * Begins `work`, which has to take the step; the daemon is killed right after it, and another one started.
   * @param times only when it is taken the so-manieth time
   * @returns what the new daemon found under way
   */
  async killAfter(step: string, work: () => Promise<unknown>, times = 1): Promise<readonly CutShort[]> {
    writeFileSync(this.order, `kill ${String(times)} ${step}`);
    try {
      const answered = await work().then(
        () => true,
        () => false,
      );
      if (answered) throw new Error(`the call was answered before "${step}" was reached`);
      // Killed already; this waits until it is gone.
      await this.host.stopDaemon('SIGKILL');
    } finally {
      rmSync(this.order);
    }
    await this.host.startDaemon();
    return this.host.daemon.log
      .split('\n')
      .filter((line) => line.includes('"an operation was cut short"'))
      .map((line) => JSON.parse(line) as CutShort);
  }

  /**
   * Begins `work`, which has to take the step; right after it the call ends, as if its caller had gone or its deadline passed.
   * @returns what the daemon says to that, once it has done with the call; undefined when it has carried it out all the same
   */
  async endAfter(
    step: string,
    end: 'cancel' | 'expire',
    work: () => Promise<unknown>,
  ): Promise<CallFailure | undefined> {
    writeFileSync(this.order, `${end} 1 ${step}`);
    try {
      const failure = await failureIfAny(work());
      if (readFileSync(this.order, 'utf8') !== `${end} 0 ${step}`)
        throw new Error(`"${step}" was not reached, and the call ended with ${JSON.stringify(failure)}`);
      return failure;
    } finally {
      rmSync(this.order);
    }
  }

  /** Files with names that only something unfinished has, and entries of the journal. */
  leftovers(): readonly string[] {
    const { stateDirectory } = this.host.machine;
    const files = readdirSync(stateDirectory, { recursive: true, encoding: 'utf8' }).filter(
      (path) => /\.(tmp|next|new)$|\/next$|\.(trash|new)-/.test(path) && existsSync(join(stateDirectory, path)),
    );
    const database = openStateDatabase(join(stateDirectory, 'state.db'));
    try {
      const entries = new SqliteJournal(database).unfinished();
      return [...files, ...entries.map(({ operation, step }) => `${operation}: ${step}`)];
    } finally {
      database.close();
    }
  }

  /** The state that an instance's folder says it is in. */
  recordedState(id: string): string {
    const record = readFileSync(join(this.host.machine.stateDirectory, 'instances', id, 'instance.json'), 'utf8');
    return (JSON.parse(record) as { state: string }).state;
  }

  hasFile(id: string, name: string): boolean {
    return existsSync(join(this.host.machine.stateDirectory, 'instances', id, name));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.host[Symbol.asyncDispose]();
    } finally {
      rmSync(this.folder, { recursive: true });
    }
  }
}
