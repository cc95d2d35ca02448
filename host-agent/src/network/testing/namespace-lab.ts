import { readlinkSync } from 'node:fs';
import { chmod, mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { execa } from 'execa';
import { copyForeignFunctions } from '../../os/testing/foreign-functions.js';
import type { ALL_SCENARIOS, ScenarioName } from './all-scenarios.js';
import { WITH_OPEN_TUN } from './namespaces.js';
import type { World } from './scenario-world.js';

const here = dirname(fileURLToPath(import.meta.url));
const repository = join(here, '../../../..');

/** A prefix of the command that takes rights away from what follows. */
export const WITHOUT = {
  nothing: [],
  capabilities: ['setpriv', '--inh-caps=-all', '--bounding-set=-all'],
  root: ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--inh-caps=-all', '--bounding-set=-all'],
  /** As before, but programs may be root's all the same, by their set-user-ID bit. */
  rootButForPrograms: ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--inh-caps=-all'],
} as const satisfies Record<string, readonly string[]>;

export type Answer<Name extends ScenarioName> = Awaited<ReturnType<(typeof ALL_SCENARIOS)[Name]>>;

/** Runs scenarios, each in a process with a fresh network and mount namespace; the machine's own network is not touched. */
export class NamespaceLab implements AsyncDisposable {
  private constructor(
    private readonly directory: string,
    private readonly program: string,
  ) {}

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
      external: ['koffi'],
      alias: { '@offshoot/shared': join(repository, 'shared/src') },
      logLevel: 'warning',
    });
    await copyForeignFunctions(directory);
    return new NamespaceLab(directory, program);
  }

  /** A state directory that is everybody's, by its path without symbolic links. */
  async stateDirectory(): Promise<string> {
    const path = await realpath(await mkdtemp(join(this.directory, 'state-')));
    await chmod(path, 0o777);
    return path;
  }

  async run<Name extends ScenarioName>(
    name: Name,
    without: readonly string[] = WITHOUT.nothing,
    state?: string,
    world: World = { root: [] },
  ): Promise<Answer<Name>> {
    const args = ['--net', '--mount', ...WITH_OPEN_TUN, ...without, process.execPath, this.program];
    args.push(readlinkSync('/proc/self/ns/net'), name, state ?? (await this.stateDirectory()), JSON.stringify(world));
    const { stdout } = await execa('unshare', args, {
      cwd: this.directory, // one that everybody may be in
      timeout: 30_000,
      killSignal: 'SIGKILL',
    });
    return JSON.parse(stdout) as Answer<Name>;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.directory, { recursive: true, force: true });
  }
}
