import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { CACHE } from './cache.js';

const bundler = fileURLToPath(new URL('../../host-agent/bundle.mjs', import.meta.url));
const journalSteps = fileURLToPath(new URL('journal-steps.mjs', import.meta.url));

/** The daemon, which lists the steps that its operations take, and ends at the one it is told; see journal-steps.mjs. */
export const DAEMON_WITH_STEPS = join(CACHE, 'daemon-with-steps.mjs');

/** Before the first test that starts a daemon: the programs, of what was compiled last. */
export async function setup(): Promise<void> {
  await mkdir(CACHE, { recursive: true });
  for (const args of [[], [DAEMON_WITH_STEPS, journalSteps]])
    await promisify(execFile)(process.execPath, [bundler, ...args]);
}
