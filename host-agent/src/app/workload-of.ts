import type { WorkloadSpec } from '../ports/guest-link.js';
import type { Image, ImageConfig, ImageUser } from '../ports/image-store.js';

/** Program of imported images that becomes another as another user (images/imported/bin/as-user). */
const AS_USER = '/opt/offshoot/runtime/bin/as-user';

/**
 * What an instance of an image runs: the program it was asked to, in the instance's environment and the image's where the
 * request says nothing else; without one the image's own program, as its user and in its directory.
 */
export function workloadOf(
  { config }: Pick<Image, 'config'>,
  requested: WorkloadSpec | undefined,
  env: Readonly<Record<string, string>> = {},
): WorkloadSpec | undefined {
  if (config === undefined) return requested && { ...requested, env: { ...env, ...requested.env } };
  if (requested !== undefined && requested.argv.length > 0)
    return { ...requested, env: { ...config.env, ...env, ...requested.env } };
  const argv = [...config.entrypoint, ...config.command];
  if (argv.length === 0) return requested;
  return {
    argv: asUser(argv, config.user),
    env: { HOME: config.user.home, ...config.env, ...env, ...requested?.env },
    workingDirectory: directoryOf(config, requested),
    files: requested?.files ?? [],
  };
}

/** `/` is also what a request says that says nothing. */
const directoryOf = ({ workingDirectory }: ImageConfig, requested: WorkloadSpec | undefined): string =>
  requested === undefined || requested.workingDirectory === '/' ? workingDirectory : requested.workingDirectory;

function asUser(argv: readonly string[], { uid, gid, groups }: ImageUser): readonly string[] {
  if (uid === 0 && gid === 0 && groups.length === 0) return argv;
  return [AS_USER, String(uid), String(gid), groups.length === 0 ? '-' : groups.join(','), ...argv];
}
