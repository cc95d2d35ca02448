import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf } from '@offshoot/shared/errors.js';
import { log } from '../log.js';

export const HOOKS = '/etc/offshoot/hooks';

/** Time each hook has, in milliseconds. */
const LIMIT_MS = 5000;
/** What run-parts(8) takes, and a suffix: neither hidden files nor an editor's copies. */
const NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$/;
const STDERR = 2;

/** A folder of programs an image or a workload brings, run one after the other in the order of their names. */
export class HookDirectory {
  constructor(
    private readonly path: string,
    private readonly limitMs = LIMIT_MS,
  ) {}

  /** The hooks there are; one look at a folder that is most often not there. */
  list(): string[] {
    // Asked first: to catch the error costs an emulated fork 10 ms.
    if (!existsSync(this.path)) return [];
    let names: string[];
    try {
      names = readdirSync(this.path);
    } catch {
      return [];
    }
    return names
      .filter((name) => NAME.test(name))
      .sort()
      .map((name) => join(this.path, name))
      .filter(isProgram);
  }

  /** Runs them; what goes wrong is on the console and stops nothing else. Their output is there, too. */
  async run(hooks: readonly string[], env: Readonly<Record<string, string>>): Promise<void> {
    for (const hook of hooks) {
      try {
        const problem = await this.runOne(hook, env);
        if (problem !== undefined) log(`hook ${hook}: ${problem}`);
      } catch (error) {
        log(`hook ${hook}: ${messageOf(error)}`);
      }
    }
  }

  private async runOne(hook: string, env: Readonly<Record<string, string>>): Promise<string | undefined> {
    const child = spawn(hook, [], {
      cwd: '/',
      env: { ...process.env, ...env },
      stdio: ['ignore', STDERR, STDERR],
      detached: true, // a group of its own, which ends as one
    });
    const limit = AbortSignal.timeout(this.limitMs);
    const onLimit = (): void => {
      if (child.pid !== undefined) endGroup(child.pid);
    };
    limit.addEventListener('abort', onLimit);
    try {
      const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
      if (limit.aborted) return `ended after its limit of ${String(this.limitMs)} ms`;
      if (code === 0) return undefined;
      return signal === null ? `exited with code ${String(code)}` : `was ended by ${signal}`;
    } finally {
      limit.removeEventListener('abort', onLimit);
    }
  }
}

function isProgram(path: string): boolean {
  const stats = statSync(path, { throwIfNoEntry: false });
  return stats?.isFile() === true && (stats.mode & 0o111) !== 0;
}

function endGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    log(`hook: ${messageOf(error)}`);
  }
}
