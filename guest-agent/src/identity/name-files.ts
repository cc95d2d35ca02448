import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  lstatSync,
  openSync,
  readFileSync,
  statSync,
  writeSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { errnoOf } from '@offshoot/shared/errors.js';
import { randomBytes } from '../os/kernel-random.js';
import { setKernelHostname } from '../os/libc.js';

/** Debian's place for a host's own name: an address that needs no network. */
const OWN_ADDRESS = '127.0.1.1';

/** /etc/hosts with the new name in the place of the old one. */
export function hostsWith(text: string, oldName: string, newName: string): string {
  const kept = text
    .split('\n')
    .slice(0, text === '' || text.endsWith('\n') ? -1 : undefined)
    .flatMap((line) => {
      const [words = ''] = line.split('#');
      const [address, ...names] = words.trim().split(/\s+/);
      if (address === OWN_ADDRESS) return [];
      if (oldName === 'localhost' || !names.includes(oldName)) return [line];
      const others = names.filter((name) => name !== oldName);
      return others.length === 0 ? [] : [[address, ...others].join(' ')];
    });
  return [...kept, `${OWN_ADDRESS} ${newName}`, ''].join('\n');
}

/** The names of this machine: the kernel's host name, and the files in /etc that say it again. */
export class NameFiles {
  constructor(
    private readonly root = '/',
    private readonly setKernel: (name: string) => void = setKernelHostname,
    private readonly kernelName: () => string = hostname,
  ) {}

  get machineId(): string {
    return readOr(this.path('etc/machine-id')).trim();
  }

  setHostname(name: string): void {
    const old = this.kernelName();
    this.setKernel(name);
    this.write('etc/hostname', `${name}\n`);
    const hosts = readOr(this.path('etc/hosts'));
    const renamed = hostsWith(hosts, old, name);
    if (renamed !== hosts) this.write('etc/hosts', renamed);
  }

  setMachineId(id: string): void {
    this.write('etc/machine-id', `${id}\n`);
    // D-Bus's own copy, where it is not a link to the other.
    const copy = this.path('var/lib/dbus/machine-id');
    if (statSync(copy, { throwIfNoEntry: false }) !== undefined && !lstatSync(copy).isSymbolicLink())
      this.write('var/lib/dbus/machine-id', `${id}\n`);
  }

  /**
   * What a boot has to settle: the files say the kernel's host name, and there is a machine id: the one the host gives on
   * the kernel's command line, else the one on the disk, else a random one. Returns whether the disk had another's id.
   */
  settle(commandLine: string): boolean {
    const given = /(?:^|\s)offshoot\.machine_id=([0-9a-f]{32})(?:\s|$)/.exec(commandLine)?.[1];
    const found = this.machineId;
    const wanted = given ?? (found === '' ? randomBytes(16).toString('hex') : found);
    if (wanted !== found) this.setMachineId(wanted);
    const name = this.kernelName();
    if (readOr(this.path('etc/hostname')).trim() !== name) {
      const old = readOr(this.path('etc/hostname')).trim();
      this.write('etc/hostname', `${name}\n`);
      this.write('etc/hosts', hostsWith(readOr(this.path('etc/hosts')), old, name));
    }
    return found !== '' && wanted !== found;
  }

  private path(name: string): string {
    return join(this.root, name);
  }

  /** In place: these may be mounts of their own. A disk that is read-only says what it always said. */
  private write(name: string, text: string): void {
    try {
      overwrite(this.path(name), text);
    } catch (error) {
      if (errnoOf(error) !== 'EROFS') throw error;
    }
  }
}

/**
 * Byte for byte over what is there. Not emptied first, as `writeFile` does: ext4 then frees the block, takes another one and
 * writes it out when the file is closed (`auto_da_alloc`), a sixth of all the code a fork's wake runs.
 */
function overwrite(path: string, text: string): void {
  const file = openSync(path, constants.O_WRONLY | constants.O_CREAT, 0o644);
  try {
    const length = writeSync(file, text, 0);
    if (fstatSync(file).size > length) ftruncateSync(file, length);
  } finally {
    closeSync(file);
  }
}

function readOr(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return '';
    throw error;
  }
}
