import { accessSync, constants, readlinkSync } from 'node:fs';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { execa, execaSync } from 'execa';
import type { SCENARIOS, ScenarioName } from './scenarios.js';

const here = dirname(fileURLToPath(import.meta.url));
const repository = join(here, '../../../..');

/** A prefix of the command that takes rights away from what follows. */
export const WITHOUT = {
  nothing: [],
  capabilities: ['setpriv', '--inh-caps=-all', '--bounding-set=-all'],
  root: ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--inh-caps=-all', '--bounding-set=-all'],
} as const satisfies Record<string, readonly string[]>;

/** What is missing for tests that change the network in a namespace of their own; undefined when nothing is. */
export function missingForNamespaces(): string | undefined {
  if (process.getuid?.() !== 0) return 'root';
  for (const [program, argument] of [
    ['unshare', '--version'],
    ['setpriv', '--version'],
    ['ip', '-V'],
    ['nft', '--version'],
  ] as const)
    if (execaSync(program, [argument], { reject: false }).failed) return program;
  if (execaSync('unshare', ['--net', '--mount', 'true'], { reject: false }).failed) return 'right to make namespaces';
  try {
    accessSync('/dev/net/tun', constants.R_OK | constants.W_OK);
  } catch {
    return '/dev/net/tun';
  }
  return undefined;
}

type Answer<Name extends ScenarioName> = Awaited<ReturnType<(typeof SCENARIOS)[Name]>>;

/** Runs scenarios, each in a process with a fresh network and mount namespace; the machine's own network is not touched. */
export class NamespaceLab implements AsyncDisposable {
  private constructor(
    private readonly directory: string,
    private readonly program: string,
  ) {}

  /** Whether a process with fewer rights can load what scenarios need: a checkout in root's home is root's alone. */
  static canRun(without: readonly string[]): boolean {
    const readable = ['test', '-r', join(repository, 'node_modules/koffi/package.json')];
    return !execaSync('env', [...without, ...readable], { reject: false }).failed;
  }

  /** Bundles the scenarios, because Node runs no TypeScript. */
  static async open(): Promise<NamespaceLab> {
    const directory = await mkdtemp(join(tmpdir(), 'offshoot-network-lab-'));
    await chmod(directory, 0o755); // also for the user without rights
    const program = join(directory, 'namespace-main.cjs');
    await build({
      entryPoints: [join(here, 'namespace-main.ts')],
      outfile: program,
      bundle: true,
      platform: 'node',
      target: 'node20',
      format: 'cjs',
      external: ['koffi', 'pino'],
      alias: { '@offshoot/shared': join(repository, 'shared/src') },
      logLevel: 'warning',
    });
    return new NamespaceLab(directory, program);
  }

  async run<Name extends ScenarioName>(
    name: Name,
    without: readonly string[] = WITHOUT.nothing,
  ): Promise<Answer<Name>> {
    const args = ['--net', '--mount', ...without, process.execPath, this.program];
    args.push(readlinkSync('/proc/self/ns/net'), name, await mkdtemp(join(this.directory, 'state-')));
    const { stdout } = await execa('unshare', args, {
      env: { NODE_PATH: join(repository, 'node_modules') },
      timeout: 30_000,
      killSignal: 'SIGKILL',
    });
    return JSON.parse(stdout) as Answer<Name>;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.directory, { recursive: true, force: true });
  }
}
