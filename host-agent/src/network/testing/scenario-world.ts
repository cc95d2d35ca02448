import { execa } from 'execa';
import { PrivilegedClient } from '../../os/privileged-client.js';
import type { NetworkHelper } from '../helper-tap-host.js';

/** What scenarios find around them; as JSON for the process they run in. */
export interface World {
  /** What has root run a command; empty where the scenario is root itself. */
  readonly root: readonly string[];
  /** Root's helper, where the scenario is not root. */
  readonly helper?: {
    readonly path: string;
    readonly carrier: readonly [string, ...string[]];
    readonly version: string;
    readonly instances: number;
    /** Its configuration file, and what that says but for the network's subnet. */
    readonly configuration: string;
    readonly content: object;
  };
}

const world = JSON.parse(process.argv[5] ?? '{"root":[]}') as World;

/** Runs a program as root: what the machine's administrator does. @returns what it printed */
export async function asRoot(program: string, ...args: readonly string[]): Promise<string> {
  const [first = program, ...rest] = [...world.root, program, ...args];
  return (await execa(first, rest)).stdout;
}

/** Lets the helper, where there is one, make a network of this subnet. */
export async function allowSubnet(subnet: string): Promise<void> {
  if (world.helper === undefined) return;
  const content = JSON.stringify({ ...world.helper.content, network_subnet: subnet });
  await asRoot('sh', '-c', 'printf %s "$1" >"$2"', 'sh', content, world.helper.configuration);
}

/** What the network is to be opened with, if anything. */
export function helperOfWorld(): { readonly helper?: NetworkHelper } {
  if (world.helper === undefined) return {};
  const { path, carrier, version, instances } = world.helper;
  return { helper: { client: new PrivilegedClient(path, carrier), version, instances } };
}
