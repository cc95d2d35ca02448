import { describeDiskStorage } from '../../host-agent/src/storage/testing/conformance.js';
import { ZFS_POOL } from '../../host-agent/src/storage/zfs/testing/zfs-subjects.js';

describeDiskStorage(ZFS_POOL);
