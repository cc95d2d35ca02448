import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';

const ROOT = fileURLToPath(new URL('../../../../', import.meta.url));

/** The command as users have it. */
export const OFFSHOOT = join(ROOT, 'bin/offshoot');
/** What it runs. */
export const CLI = join(ROOT, 'host-agent/dist/cli/main.js');

export const isBuilt = existsSync(CLI);
export const lacksBuild = isBuilt ? '' : ' (skipped: host-agent/dist is not built)';

/** Each case starts a process or several, on machines that may be busy. */
export const TIMEOUT_MS = 180_000;

/** What a command came to. */
export interface Ran {
  readonly code: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

/** @param host address of the daemon @param input all that its standard input has */
export async function runOffshoot(args: readonly string[], host: string, input = ''): Promise<Ran> {
  const { exitCode, stdout, stderr } = await execa(OFFSHOOT, args, {
    env: { OFFSHOOT_HOST: host },
    input,
    reject: false,
  });
  return { code: exitCode, stdout, stderr };
}
