import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  statfsSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CACHE } from './cache.js';

/** What the daemon's KVM probe found, bound to this boot and this QEMU. */
const KVM_PROBE = 'kvm-probe.json';

export const isRoot = process.geteuid?.() === 0;

/** How much there is of each thing an instance leaves on the machine. */
export interface MachineTraces {
  /** Folders of instances, the half-made and half-removed ones among them. */
  readonly folders: number;
  /** VMMs, whoever owns them. */
  readonly processes: number;
  readonly taps: number;
}

/** File systems a state directory can be put on; `xfs` knows reflinks. */
export type StateType = 'tmpfs' | 'xfs';

/** A temporary directory and, as root, a network namespace for one daemon; and a look at what it left there. */
export class TestMachine {
  /** Where the daemon's mounts are seen from; 0 when it has none of its own. */
  private mountedBy = 0;

  private constructor(
    readonly root: string,
    readonly namespace: string | undefined,
  ) {}

  static create(): TestMachine {
    const root = mkdtempSync(join(tmpdir(), 'offshoot-test-'));
    const namespace = isRoot ? `ofs-${randomBytes(4).toString('hex')}` : undefined;
    if (namespace !== undefined) {
      execFileSync('ip', ['netns', 'add', namespace]);
      execFileSync('ip', ['-n', namespace, 'link', 'set', 'lo', 'up']);
    }
    const machine = new TestMachine(root, namespace);
    const probed = join(CACHE, KVM_PROBE);
    if (existsSync(probed)) {
      mkdirSync(machine.stateDirectory, { mode: 0o700 });
      copyFileSync(probed, join(machine.stateDirectory, KVM_PROBE));
    }
    return machine;
  }

  get stateDirectory(): string {
    return join(this.root, 'state');
  }

  /** argv of a program in the daemon's network namespace. */
  inNetwork(...argv: string[]): string[] {
    // Not `ip netns exec`, which remounts /sys and cannot where / is no mount of its own.
    return this.namespace === undefined ? argv : ['nsenter', `--net=/run/netns/${this.namespace}`, ...argv];
  }

  /** What a daemon is started through. @param stateBytes size of a file system mounted as its state directory */
  through(stateBytes: number | undefined, type: StateType = 'tmpfs'): string[] {
    if (stateBytes === undefined) return this.inNetwork();
    const state = this.stateDirectory;
    const bytes = String(stateBytes);
    const mountAt = {
      tmpfs: `mount -t tmpfs -o size=${bytes} tmpfs`,
      xfs: `truncate -s ${bytes} ${state}.xfs && mkfs.xfs -q ${state}.xfs && mount -o loop ${state}.xfs`,
    }[type];
    const mount = `mkdir -p ${state} && ${mountAt} ${state} && exec "$@"`;
    return this.inNetwork('unshare', '--mount', 'sh', '-c', mount, 'small-state');
  }

  /** A path below the state directory, as this process sees it. */
  seen(path: string): string {
    return this.mountedBy === 0 ? path : `/proc/${String(this.mountedBy)}/root${path}`;
  }

  /** The state directory is a mount of this process's own. */
  seeThrough(pid: number): void {
    this.mountedBy = pid;
  }

  traces(): MachineTraces {
    const instances = join(this.stateSeen, 'instances');
    return {
      folders: existsSync(instances) ? readdirSync(instances).length : 0,
      processes: this.processes().length,
      taps: this.taps(),
    };
  }

  /** Folders of captures, which no call leaves behind. */
  captures(): number {
    const captures = join(this.stateSeen, 'captures');
    return existsSync(captures) ? readdirSync(captures).length : 0;
  }

  /** Folders of snapshots, the half-made and half-removed ones among them. */
  snapshots(): number {
    const snapshots = join(this.stateSeen, 'snapshots');
    return existsSync(snapshots) ? readdirSync(snapshots).length : 0;
  }

  /** Leaves only so many bytes in the file system of the state directory. */
  fillStateDirectory(leaveBytes: number): void {
    const { bavail, bsize } = statfsSync(this.stateSeen);
    execFileSync('fallocate', ['-l', String(bavail * bsize - leaveBytes), join(this.stateSeen, 'filler')]);
  }

  /** Bridges and tables that are still there; none are once a daemon without instances has ended. */
  networkLeft(): Record<string, number> {
    if (this.namespace === undefined) return {};
    const links = JSON.parse(
      execFileSync('ip', ['-n', this.namespace, '-j', 'link'], { encoding: 'utf8' }),
    ) as unknown[];
    const [program = '', ...rest] = this.inNetwork('nft', 'list', 'tables');
    const tables = execFileSync(program, rest, { encoding: 'utf8' }).split('\n').filter(Boolean);
    return { links: links.length - 1, tables: tables.length };
  }

  /** Ends what is still there, and removes everything. */
  remove(): void {
    for (const pid of this.processes()) process.kill(pid, 'SIGKILL');
    if (this.namespace !== undefined) execFileSync('ip', ['netns', 'del', this.namespace]);
    rmSync(this.root, { recursive: true, force: true });
  }

  private get stateSeen(): string {
    return this.seen(this.stateDirectory);
  }

  /** A VMM works in its instance's folder; where that is mounted for the daemon alone, the network tells whose it is. */
  private processes(): number[] {
    const network = this.namespace === undefined ? undefined : statSync(`/run/netns/${this.namespace}`).ino;
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .filter((pid) => {
        try {
          const folder = readlinkSync(`/proc/${pid}/cwd`);
          if (folder.startsWith(join(this.stateDirectory, 'instances'))) return true;
          return /\/instances\/[0-9a-z]{26}/.test(folder) && statSync(`/proc/${pid}/ns/net`).ino === network;
        } catch {
          return false; // gone meanwhile
        }
      })
      .map(Number);
  }

  private taps(): number {
    if (this.namespace === undefined) return 0;
    const links = JSON.parse(execFileSync('ip', ['-n', this.namespace, '-j', '-d', 'link'], { encoding: 'utf8' })) as {
      ifname: string;
      flags: string[];
      linkinfo?: { info_kind?: string; info_data?: { persist?: boolean; user?: string | number } };
    }[];
    return links.filter(({ ifname, flags, linkinfo }) => {
      // The daemon keeps one of its own in the bridge, so that the bridge has a carrier before there are guests.
      if (linkinfo?.info_kind !== 'tun' || ifname.startsWith('ofk-')) return false;
      // Those that root keeps for another user are an instance's as long as somebody has them open.
      const isKept = linkinfo.info_data?.persist === true && linkinfo.info_data.user !== undefined;
      return !isKept || flags.includes('LOWER_UP');
    }).length;
  }
}
