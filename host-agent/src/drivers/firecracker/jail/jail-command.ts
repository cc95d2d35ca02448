import { dirname, join } from 'node:path';
import type { JailedFile } from './jail-contents.js';

/** Its user and group; neither is root's. */
export interface JailUser {
  readonly uid: number;
  readonly gid: number;
}

/** A disk that is a device: in the jail it is a node of its own, which belongs to the jail's user. */
export interface JailedDevice {
  readonly name: string;
  readonly major: number;
  readonly minor: number;
}

/** All that a jail's making depends on. Paths are absolute. */
export interface JailPlan {
  /** Of the jail; see `jailNameOf`. */
  readonly name: string;
  readonly user: JailUser;
  readonly unshare: string;
  readonly jailer: string;
  /** Without symbolic links: the jailer names a folder after it. */
  readonly firecracker: string;
  readonly firecrackerBytes: number;
  /** Empty folder over which the jail's file system is mounted. */
  readonly base: string;
  /** File with {@link mountTable}. */
  readonly mounts: string;
  readonly files: readonly JailedFile[];
  readonly devices: readonly JailedDevice[];
}

/** For the few folders and nodes a jail has, beside the copy of Firecracker. */
const ROOM_BYTES = 1024 * 1024;
const MAX_INODES = 64;

/** The jailer makes it, in this place below the folder it is told. */
export const jailRoot = ({ base, firecracker, name }: Pick<JailPlan, 'base' | 'firecracker' | 'name'>): string =>
  join(base, firecracker.slice(dirname(firecracker).length).replace(/^\//, ''), name, 'root');

/**
 * What is mounted into the jail, as mount(8) reads it: one exec for all of them. What is only read is mounted so, and nothing in
 * the jail can be run or is a device but what the jailer puts there itself.
 */
export function mountTable(plan: Pick<JailPlan, 'base' | 'firecracker' | 'name' | 'files'>): string {
  const root = jailRoot(plan);
  return plan.files
    .map(({ name, source, access }) => {
      const options = `bind,${access === 'read' ? 'ro' : 'rw'},nosuid,nodev,noexec`;
      return `${tableWord(source)} ${tableWord(join(root, name))} none ${options} 0 0\n`;
    })
    .join('');
}

/**
 * The command that becomes Firecracker in its jail, with one process id from the beginning to the end: every program on the way
 * replaces itself by the next. So the jailer is not told `--daemonize` or `--new-pid-ns`, with which it would fork: then nobody
 * could tell this process's child how its VMM ended, and the id would have to be fetched from a file.
 *
 * The jail is a small file system in memory, in a mount namespace that nobody but these has: all of it goes with the VMM,
 * however that ends, and no copy of a folder ever meets the jailer's device nodes.
 */
export function jailCommand(
  plan: JailPlan,
  vmmArguments: readonly string[],
): { readonly binary: string; readonly arguments: readonly string[] } {
  return { binary: plan.unshare, arguments: ['--mount', 'sh', '-ec', jailScript(plan, vmmArguments)] };
}

function jailScript(plan: JailPlan, vmmArguments: readonly string[]): string {
  const { name, user, jailer, firecracker, firecrackerBytes, base, mounts, files, devices } = plan;
  const root = jailRoot(plan);
  const inJail = (path: string): string => shellWord(join(root, path));
  const options = `mode=0755,nosuid,size=${String(firecrackerBytes + ROOM_BYTES)},nr_inodes=${String(MAX_INODES)}`;
  const folders = [...files, ...devices].map((each) =>
    inJail('kind' in each && each.kind === 'folder' ? each.name : dirname(each.name)),
  );
  const owner = `${String(user.uid)}:${String(user.gid)}`;
  return [
    `mount -n -t tmpfs -o ${options} offshoot-jail ${shellWord(base)}`,
    `mkdir -p ${[...new Set(folders)].join(' ')}`,
    ...files.filter(({ kind }) => kind === 'file').map((file) => `: >${inJail(file.name)}`),
    `mount -n -a -T ${shellWord(mounts)}`,
    ...devices.flatMap((device) => [
      `mknod -m 600 ${inJail(device.name)} b ${String(device.major)} ${String(device.minor)}`,
      `chown ${owner} ${inJail(device.name)}`,
    ]),
    [
      'exec',
      ...[jailer, '--id', name, '--exec-file', firecracker, '--uid', String(user.uid), '--gid', String(user.gid)],
      ...['--chroot-base-dir', base, '--', ...vmmArguments],
    ]
      .map((word, index) => (index === 0 ? word : shellWord(word)))
      .join(' '),
  ].join('\n');
}

const shellWord = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

/** fstab(5): what would end a word, or begin a comment, in octal. */
const tableWord = (text: string): string =>
  text.replace(/[\s\\#]/g, (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`);
