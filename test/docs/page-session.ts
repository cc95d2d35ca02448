import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { privateNetwork } from '@offshoot/host-agent/demo/private-network.js';
import { IMAGES } from '../harness/cache.js';
import { REPOSITORY, type ShellBlock } from './page.js';

/** The directory pages use; each run has one of its own in its place, `/tmp/offshoot.log` and the like included. */
const EXAMPLE = '/tmp/offshoot';

/** A page boots one VM or two; on a crowded machine that takes minutes. */
const PAGE_LIMIT_MS = 540_000;

export interface PageRun {
  /** Of bash; null when it was ended for taking too long. */
  readonly exitCode: number | null;
  /** The last block begun. */
  readonly lastBlock: ShellBlock | undefined;
  /** What each block wrote to stdout and stderr, the blocks not reached left out. Paths as in the page. */
  readonly outputs: ReadonlyMap<ShellBlock, string>;
  /** Hypervisors that were still there after the page's last command. */
  readonly vmsLeft: number;
}

/**
 * Runs blocks one after the other in one bash, from the repository's root and, as root, in a network of their own. The
 * checkout is built already, so `make build` does nothing; no other target may be called. Nothing of a run is left.
 */
export async function runBlocks(blocks: readonly ShellBlock[], grpcurl: string | undefined): Promise<PageRun> {
  // Short: the state directory in it has sockets, whose paths are limited.
  const root = mkdtempSync(join(tmpdir(), 'ofd-'));
  try {
    const script = join(root, 'page.sh');
    writeFileSync(script, sessionScript(blocks, root));
    const [program, ...args] = withBash(script);
    const tools = grpcurl === undefined ? [] : [join(grpcurl, '..')];
    const child = spawn(program, args, {
      cwd: REPOSITORY,
      detached: true,
      stdio: 'ignore',
      env: {
        ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('OFFSHOOT_'))),
        OFFSHOOT_IMAGES_DIR: IMAGES,
        PATH: [...tools, process.env.PATH ?? ''].join(delimiter),
      },
    });
    const timer = setTimeout(() => {
      // The whole group: bash, and the daemon and commands it started.
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    }, PAGE_LIMIT_MS);
    const [exitCode] = (await once(child, 'close')) as [number | null];
    clearTimeout(timer);
    const outputs = new Map(blocks.flatMap((block, i) => outputOf(block, join(root, `output-${i}`), root)));
    return { exitCode, lastBlock: [...outputs.keys()].at(-1), outputs, vmsLeft: endProcessesIn(root) };
  } finally {
    endProcessesIn(root);
    rmSync(root, { recursive: true, force: true });
  }
}

function withBash(script: string): [string, ...string[]] {
  const [unshare, ...rest] = privateNetwork();
  return unshare === undefined ? ['bash', script] : [unshare, ...rest, 'bash', script];
}

/** The blocks as one script: each writes into a file of its own, and whatever runs in the background ends with the script. */
function sessionScript(blocks: readonly ShellBlock[], root: string): string {
  const prologue = [
    'set -euo pipefail',
    'make() { [ "$*" = build ] || { echo "the test has no make $*"; return 1; }; }',
    'end() { exec >/dev/null 2>&1; kill $(jobs -p) || true; wait || true; }',
    'trap end EXIT',
  ];
  const body = blocks.map(({ commands }, i) => `exec >${root}/output-${i} 2>&1\n${commands}`);
  return [...prologue, ...body, ''].join('\n').replaceAll(EXAMPLE, `${root}/offshoot`);
}

function outputOf(block: ShellBlock, path: string, root: string): [ShellBlock, string][] {
  try {
    return [[block, readFileSync(path, 'utf8').replaceAll(`${root}/offshoot`, EXAMPLE)]];
  } catch {
    return []; // not reached
  }
}

/** Ends what still works in the directory: hypervisors, each in its instance's folder. */
function endProcessesIn(root: string): number {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && worksIn(name, root));
  for (const pid of pids) process.kill(Number(pid), 'SIGKILL');
  return pids.length;
}

function worksIn(pid: string, root: string): boolean {
  try {
    return readlinkSync(`/proc/${pid}/cwd`).startsWith(`${root}/`);
  } catch {
    return false; // it ended meanwhile, or is another user's
  }
}
