import { accessSync, constants, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf } from '@offshoot/shared/errors.js';
import { CAP_SYS_PTRACE, hasCapability } from '../../os/capabilities.js';
import { fail, pass, warn, type Check } from './check.js';

/** Oldest kernel with all we use: copy_file_range between file systems of one kind (5.3), pidfd_getfd (5.6). */
const OLDEST_KERNEL = [5, 6] as const;
/** When this was written: a clock that is before it is wrong, and certificates and file times with it. */
const EARLIEST_NOW = Date.UTC(2026, 0);

/** What the machine itself has to be. */
export const MACHINE_CHECKS: readonly Check[] = [
  {
    name: 'kernel',
    run: ({ root }) => {
      const release = read(root, 'proc/sys/kernel/osrelease').trim();
      const system = /^PRETTY_NAME="?(.*?)"?$/m.exec(readOr(root, 'etc/os-release', ''))?.[1] ?? 'an unknown system';
      const [major = 0, minor = 0] = release.split('.').map((part) => Number.parseInt(part, 10));
      const [oldestMajor, oldestMinor] = OLDEST_KERNEL;
      const what = `Linux ${release}, ${system}`;
      if (major > oldestMajor || (major === oldestMajor && minor >= oldestMinor)) return pass(what);
      return fail(what, `use Linux ${OLDEST_KERNEL.join('.')} or later`);
    },
  },
  {
    name: 'cpu-virtualization',
    run: ({ root }) => {
      const flag = /^flags\s*:.*\b(vmx|svm)\b/m.exec(read(root, 'proc/cpuinfo'))?.[1];
      if (flag !== undefined) return pass(flag === 'vmx' ? 'Intel VT-x' : 'AMD-V');
      return warn(
        'the processor offers no virtualization: guests run in software, many times slower',
        'switch it on in the firmware, or use a machine (or a kind of cloud instance) that has it',
      );
    },
  },
  {
    name: 'kvm',
    run: ({ root }) => {
      try {
        accessSync(join(root, 'dev/kvm'), constants.R_OK | constants.W_OK);
        return pass('/dev/kvm can be opened; whether it runs code is said with the drivers');
      } catch (error) {
        if (errnoOf(error) === 'ENOENT')
          return warn('there is no /dev/kvm', 'load the module kvm_intel or kvm_amd, where the processor allows it');
        return warn('/dev/kvm may not be opened', 'add the user of the daemon to the group kvm, then restart it');
      }
    },
  },
  {
    name: 'cgroup',
    run: ({ root }) => {
      const controllers = readOr(root, 'sys/fs/cgroup/cgroup.controllers', undefined);
      if (controllers !== undefined) return pass(`version 2: ${controllers.trim() || 'no controllers'}`);
      return warn(
        'control groups of version 2 are not mounted at /sys/fs/cgroup',
        'boot with systemd.unified_cgroup_hierarchy=1',
      );
    },
  },
  {
    name: 'ptrace',
    run: ({ root }) => {
      const scope = Number(readOr(root, 'proc/sys/kernel/yama/ptrace_scope', '0'));
      if (hasCapability(root, CAP_SYS_PTRACE)) return pass('CAP_SYS_PTRACE');
      if (scope === 0) return pass('the memory of processes of one user is open to that user');
      // A VMM that was taken over is no descendant of the daemon any more.
      return fail(
        `kernel.yama.ptrace_scope is ${String(scope)}: mailboxes cannot be delivered to VMs that outlived a daemon`,
        'give the daemon CAP_SYS_PTRACE, as its systemd unit does',
      );
    },
  },
  {
    name: 'clock',
    run: ({ now }) => {
      const time = new Date(now());
      if (time.getTime() >= EARLIEST_NOW) return pass(time.toISOString());
      return fail(`the clock says ${time.toISOString()}`, 'set it, and let an NTP client keep it');
    },
  },
];

const read = (root: string, path: string): string => readFileSync(join(root, path), 'latin1');

function readOr<Absent>(root: string, path: string, absent: Absent): string | Absent {
  try {
    return read(root, path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return absent;
    throw error;
  }
}
