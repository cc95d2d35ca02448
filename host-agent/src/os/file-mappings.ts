import { readFile, stat } from 'node:fs/promises';
import { Unreachable, errnoOf, messageOf } from '@offshoot/shared/errors.js';
import { deviceNumber } from './device-number.js';

/** One stretch of a process's address space that maps a file (proc_pid_maps(5)). Bytes throughout. */
export interface FileMapping {
  readonly address: number;
  readonly size: number;
  readonly fileOffset: number;
  /** MAP_PRIVATE: what is written stays with the process. */
  readonly isPrivate: boolean;
}

/** Which file, whatever it is called now: a clone's base may have lost its name. */
export interface FileIdentity {
  readonly device: bigint;
  readonly inode: bigint;
}

export async function identifyFile(path: string): Promise<FileIdentity> {
  const { dev, ino } = await stat(path, { bigint: true });
  return { device: dev, inode: ino };
}

/**
 * Where process `pid` maps the file, by ascending file offset; empty when it does not.
 * @throws Unreachable when the process is gone or may not be looked into
 */
export async function mappingsOf(pid: number, file: FileIdentity): Promise<FileMapping[]> {
  let maps: string;
  try {
    maps = await readFile(`/proc/${String(pid)}/maps`, 'latin1');
  } catch (error) {
    throw processInaccessible(pid, 'maps', error);
  }
  const ofInode = maps.split('\n').flatMap((line) => parseLine(line, String(file.inode)));
  // btrfs and overlayfs show another device here than stat does: the device decides only where it is to be found at all.
  const device = deviceText(file.device);
  const ofDevice = ofInode.filter((entry) => entry.device === device);
  return (ofDevice.length > 0 ? ofDevice : ofInode)
    .map(({ mapping }) => mapping)
    .sort((a, b) => a.fileOffset - b.fileOffset);
}

function parseLine(line: string, inode: string): { device: string; mapping: FileMapping }[] {
  const [range, mode, offset, device, lineInode] = line.split(/ +/, 5);
  if (lineInode !== inode || range === undefined || mode === undefined || offset === undefined || device === undefined)
    return [];
  const [start = 0, end = 0] = range.split('-').map((text) => Number.parseInt(text, 16));
  const fileOffset = Number.parseInt(offset, 16);
  return [{ device, mapping: { address: start, size: end - start, fileOffset, isPrivate: mode[3] === 'p' } }];
}

/** major:minor as /proc/PID/maps writes it. */
function deviceText(device: bigint): string {
  const { major, minor } = deviceNumber(device);
  return `${major.toString(16).padStart(2, '0')}:${minor.toString(16).padStart(2, '0')}`;
}

/** A failed look into another process, with what helps. */
export function processInaccessible(pid: number, what: string, cause: unknown): Unreachable {
  const denied = errnoOf(cause) === 'EACCES' || errnoOf(cause) === 'EPERM';
  const hint = denied ? ' (ptrace rights are missing: the same user and, with Yama, CAP_SYS_PTRACE)' : '';
  return new Unreachable(`/proc/${String(pid)}/${what}: ${messageOf(cause)}${hint}`, {
    reason: denied ? 'PTRACE_DENIED' : 'VMM_GONE',
    metadata: { pid: String(pid) },
    cause,
  });
}
