import { PrivilegedClient } from '../../host-agent/src/os/privileged-client.js';
import { describeDiskStorage } from '../../host-agent/src/storage/testing/conformance.js';
import { HelperZfs } from '../../host-agent/src/storage/zfs/helper-zfs.js';
import { zfsPool } from '../../host-agent/src/storage/zfs/testing/zfs-subjects.js';
import { DaemonUser, missingForDaemonUser } from '../harness/daemon-user.js';

describeDiskStorage(zfsPool('zfs, on a pool'));

// What is written to the volumes this process, which is root, writes; every command of ZFS and every copy of an image is root's
// for another user.
describeDiskStorage(
  zfsPool(
    "zfs, on a pool, by root's helper and the real sudo",
    missingForDaemonUser(),
    async ({ dataset, directory, root }) => {
      const user = await DaemonUser.open(directory, root, { zfsDataset: dataset });
      const client = new PrivilegedClient(user.helper, [...user.through, 'sudo', '-n']);
      return { program: new HelperZfs(client), [Symbol.asyncDispose]: () => user[Symbol.asyncDispose]() };
    },
  ),
);
