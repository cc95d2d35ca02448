import { join } from 'node:path';
import { JAIL_FOLDER } from '../../../os/jail-name.js';
import type { LaunchSpec, MachineSpec, RestoreSpec } from '../../../ports/driver.js';
import { consoleLog } from '../../vmm-log.js';
import { seenFrom } from '../machine-requests.js';

/** What the files of an instance that lie elsewhere are called in its jail. */
const NAMES = {
  kernel: 'kernel',
  initrd: 'initrd',
  state: 'device-state',
  memory: 'memory',
  captures: 'captures',
} as const;

/** One file or folder of the host that a jailed VMM has. Nothing else of the host is in its jail. */
export interface JailedFile {
  /** Path from the jail's root, which is the VMM's working directory. */
  readonly name: string;
  /** Path on the host, absolute. */
  readonly source: string;
  readonly kind: 'file' | 'folder';
  /** Of what is only read, the jail has a read-only mount: its user owns the file perhaps, and cannot change it all the same. */
  readonly access: 'read' | 'write';
}

/** What the jail of a VMM is made of on the host; removed with the VMM's sockets. */
export const jailPaths = ({ directory }: Pick<MachineSpec, 'directory'>) => {
  const folder = join(directory, JAIL_FOLDER);
  return {
    folder,
    /** Where the jail's own file system is mounted, for the VMM alone. */
    base: join(folder, 'root'),
    /** Files that the VMM is to write are linked in here; in the jail it is {@link captureName}'s folder. */
    captures: join(folder, NAMES.captures),
    /** What is mounted (fstab(5)). */
    mounts: join(folder, 'mounts'),
  } as const;
};

/** What the jail of a VM has that is booted. */
export function contentsToBoot(spec: LaunchSpec): readonly JailedFile[] {
  const { vmlinux, initrd } = spec.kernel;
  return [
    ...contentsOfAny(spec),
    { name: NAMES.kernel, source: vmlinux, kind: 'file', access: 'read' },
    ...(initrd === undefined ? [] : [{ name: NAMES.initrd, source: initrd, kind: 'file', access: 'read' } as const]),
  ];
}

/** What the jail of a VM has that is loaded from a capture. */
export const contentsToLoad = (spec: RestoreSpec): readonly JailedFile[] => [
  ...contentsOfAny(spec),
  { name: NAMES.state, source: spec.stateFile, kind: 'file', access: 'read' },
  { name: NAMES.memory, source: spec.memoryFile, kind: 'file', access: 'read' },
];

/** Under the names the VMM has for them outside of a jail, too: captures hold these, and are loaded in both. */
const contentsOfAny = (spec: MachineSpec): readonly JailedFile[] => [
  { name: seenFrom(spec, spec.runDirectory), source: spec.runDirectory, kind: 'folder', access: 'write' },
  { name: NAMES.captures, source: jailPaths(spec).captures, kind: 'folder', access: 'write' },
  { name: seenFrom(spec, consoleLog(spec)), source: consoleLog(spec), kind: 'file', access: 'write' },
  { name: seenFrom(spec, spec.disk.path), source: spec.disk.path, kind: 'file', access: 'write' },
];

/** The machine to boot, with its files as the jailed VMM knows them. */
export const asBootedInJail = (spec: LaunchSpec): LaunchSpec => ({
  ...spec,
  kernel: {
    ...spec.kernel,
    vmlinux: NAMES.kernel,
    ...(spec.kernel.initrd === undefined ? {} : { initrd: NAMES.initrd }),
  },
});

/** The capture to load, the same way. */
export const asLoadedInJail = (spec: RestoreSpec): RestoreSpec => ({
  ...spec,
  stateFile: NAMES.state,
  memoryFile: NAMES.memory,
});

/** What a file in {@link jailPaths}' `captures` is called in the jail. */
export const captureName = (name: string): string => `${NAMES.captures}/${name}`;
