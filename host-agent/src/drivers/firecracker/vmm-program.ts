import type { LaunchSpec, RestoreSpec } from '../../ports/driver.js';
import { jailCommand, type JailUser } from './jail/jail-command.js';
import { asBootedInJail, asLoadedInJail, contentsToBoot, contentsToLoad } from './jail/jail-contents.js';
import type { JailerInstallation } from './jail/jailer-installation.js';
import { prepareJail } from './jail/prepare-jail.js';

/** A command that becomes the VMM, which has its process id. */
export interface VmmCommandLine {
  /** Absolute. */
  readonly binary: string;
  readonly arguments: readonly string[];
}

/** One start of a VMM. */
export interface VmmStart<Spec> {
  /** The machine, with the names that the VMM has for its files. */
  readonly told: Spec;
  /** Makes ready what the VMM needs; what that leaves is removed with the VMM's sockets. @throws as {@link prepareJail} */
  command(vmmArguments: readonly string[]): Promise<VmmCommandLine>;
}

/** How Firecrackers are run here: as they are, or in a jail. */
export interface VmmProgram {
  toBoot(spec: LaunchSpec): VmmStart<LaunchSpec>;
  toLoad(spec: RestoreSpec): VmmStart<RestoreSpec>;
}

/** As the daemon's user, with the host's files. */
export function unjailed(binary: string): VmmProgram {
  const start = <Spec>(told: Spec): VmmStart<Spec> => ({
    told,
    command: (vmmArguments) => Promise.resolve({ binary, arguments: vmmArguments }),
  });
  return { toBoot: start, toLoad: start };
}

/** As another user, who has no files but the VM's own. */
export const jailed = (installation: JailerInstallation, user: JailUser): VmmProgram => ({
  toBoot: (spec) => ({
    told: asBootedInJail(spec),
    command: async (vmmArguments) =>
      jailCommand(await prepareJail(installation, user, spec, contentsToBoot(spec)), vmmArguments),
  }),
  toLoad: (spec) => ({
    told: asLoadedInJail(spec),
    command: async (vmmArguments) =>
      jailCommand(await prepareJail(installation, user, spec, contentsToLoad(spec)), vmmArguments),
  }),
});
