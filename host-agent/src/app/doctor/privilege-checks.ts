import { OffshootError, messageOf } from '@offshoot/shared/errors.js';
import { fail, pass, warn, type Check } from './check.js';

const HELPER_REMEDY =
  'compare the helper, its line in sudoers and /etc/offshoot/privileged.json with "The daemon\'s rights" in docs/operating.md';

/** What to do about a dataset that cannot be reached, by the reason why not. */
const DATASET_REMEDIES: Readonly<Record<string, string>> = {
  PROGRAM_MISSING: 'install the package zfsutils-linux',
  HELPER_REFUSED: HELPER_REMEDY,
  HELPER_UNREACHABLE: HELPER_REMEDY,
};

/** What the daemon has root for, where it is configured to. */
export const PRIVILEGE_CHECKS: readonly Check[] = [
  {
    name: 'privileged-helper',
    run: async ({ helper }) => {
      if (helper === undefined) return undefined;
      try {
        const { version, capabilities } = await helper.probe();
        const detail = `${helper.path}, version ${version}, can do: ${capabilities.join(', ') || 'nothing'}`;
        if (await helper.isRootsAlone()) return pass(detail);
        return warn(
          `${detail}; others than root may change it`,
          `chown root ${helper.path}; chmod go-w ${helper.path}`,
        );
      } catch (error) {
        return fail(messageOf(error), HELPER_REMEDY);
      }
    },
  },
  {
    name: 'zfs',
    run: async ({ zfs }, signal) => {
      if (zfs === undefined) return undefined;
      try {
        await zfs.probe(signal);
      } catch (error) {
        signal.throwIfAborted();
        const remedy = error instanceof OffshootError ? DATASET_REMEDIES[error.reason] : undefined;
        return fail(
          messageOf(error),
          remedy ?? `import its pool (zpool import), or make it: zfs create -o mountpoint=none ${zfs.dataset}`,
        );
      }
      if (zfs.asRoot) return pass(`the dataset ${zfs.dataset}`);
      return warn(
        `the dataset ${zfs.dataset} can be read, but the daemon is not root and has no helper to change it`,
        'run the daemon as root, or set privileged.helper',
      );
    },
  },
];
