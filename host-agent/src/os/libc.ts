import { closeSync } from 'node:fs';
import koffi from 'koffi';

/**
 * The calls Node does not offer. All foreign functions of the host agent are declared here and nowhere else; they block,
 * so callers use them only where the kernel answers from memory. Each returns the call's own result and throws a Node-like
 * system error (`code`, `errno`, `syscall`) on -1.
 */
const library = koffi.load('libc.so.6');

/** `struct iovec` (readv(2)). */
koffi.struct('iovec', { base: 'void *', length: 'size_t' });

/** `struct pm_scan_arg` (Documentation/admin-guide/mm/pagemap.rst). */
koffi.struct('pm_scan_arg', {
  size: 'uint64',
  flags: 'uint64',
  start: 'uint64',
  end: 'uint64',
  walkEnd: 'uint64',
  regions: 'void *',
  regionCount: 'uint64',
  maxPages: 'uint64',
  inverted: 'uint64',
  all: 'uint64',
  any: 'uint64',
  returned: 'uint64',
});

const raw = {
  ioctl: library.func('int ioctl(int fd, unsigned long request, _Inout_ void *argument)'),
  ioctlValue: library.func('int ioctl(int fd, unsigned long request, long argument)'),
  lseek: library.func('int64 lseek(int fd, int64 offset, int whence)'),
  flock: library.func('int flock(int fd, int operation)'),
  copyFileRange: library.func(
    'int64 copy_file_range(int in, _Inout_ int64 *inOffset, int out, _Inout_ int64 *outOffset, uint64 length, unsigned int flags)',
  ),
  utimensat: library.func('int utimensat(int directory, str path, const void *times, int flags)'),
  socket: library.func('int socket(int domain, int type, int protocol)'),
  bind: library.func('int bind(int fd, const void *address, uint32 length)'),
  listen: library.func('int listen(int fd, int backlog)'),
  mkfifo: library.func('int mkfifo(str path, unsigned int mode)'),
  pidfdOpen: library.func('long syscall(long number, int pid, unsigned int flags)'),
  pidfdGetfd: library.func('long syscall(long number, int pidfd, int fd, unsigned int flags)'),
  pagemapScan: library.func('int ioctl(int fd, unsigned long request, _Inout_ pm_scan_arg *argument)'),
  readProcess: library.func(
    'long process_vm_readv(int pid, const iovec *local, unsigned long localCount, const void *remote, unsigned long remoteCount, unsigned long flags)',
  ),
  poll: library.func('int poll(_Inout_ void *descriptors, unsigned long count, int timeoutMs)'),
};

export class SystemError extends Error {
  constructor(
    readonly syscall: string,
    readonly errno: number,
  ) {
    const code = codeOf(errno);
    super(`${code}: ${syscall}`);
    this.name = 'SystemError';
    this.code = code;
  }
  readonly code: string;
}

const codes = new Map(Object.entries(koffi.os.errno).map(([name, value]) => [value, name]));
const codeOf = (errno: number): string => codes.get(errno) ?? `E${String(errno)}`;

function check(syscall: string, result: number): number {
  if (result === -1) throw new SystemError(syscall, koffi.errno());
  return result;
}

/** `argument` is the structure, read and written in place. */
export const ioctl = (fd: number, request: number, argument: Buffer): number =>
  check('ioctl', raw.ioctl(fd, request, argument) as number);

export const ioctlValue = (fd: number, request: number, value: number): number =>
  check('ioctl', raw.ioctlValue(fd, request, value) as number);

export const SEEK_DATA = 3;
export const SEEK_HOLE = 4;

/** Offset of the next data or hole; undefined past the last one (ENXIO). */
export function seekExtent(
  fd: number,
  offset: number,
  whence: typeof SEEK_DATA | typeof SEEK_HOLE,
): number | undefined {
  const result = Number(raw.lseek(fd, offset, whence) as number | bigint);
  if (result !== -1) return result;
  const errno = koffi.errno();
  if (codeOf(errno) === 'ENXIO') return undefined;
  throw new SystemError('lseek', errno);
}

export const LOCK_SH = 1;
export const LOCK_EX = 2;
export const LOCK_NB = 4;
export const LOCK_UN = 8;
export const flock = (fd: number, operation: number): number => check('flock', raw.flock(fd, operation) as number);

/**
 * Copies at most `length` bytes between files without passing them through this process, on a thread of the pool.
 * @returns how many; undefined when the call failed: the error number belongs to the thread that made it and cannot be
 *   asked here. Who copies the stretch by reading and writing learns what is wrong with it.
 */
export function copyFileRange(
  input: number,
  inputOffset: number,
  output: number,
  outputOffset: number,
  length: number,
): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    raw.copyFileRange.async(
      input,
      [inputOffset],
      output,
      [outputOffset],
      length,
      0,
      (error: Error | null, result: number | bigint) => {
        if (error === null) resolve(Number(result) === -1 ? undefined : Number(result));
        else reject(error);
      },
    );
  });
}

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const NANOSECONDS = 1_000_000_000n;

/**
 * Sets access and modification time, of a link itself and not of what it leads to. Node's own calls take seconds as a
 * floating-point number, which is off by up to 240 ns in this century.
 * @param atimeNs since the epoch, as `stat` with `bigint` gives it
 */
export function setFileTimes(path: string, atimeNs: bigint, mtimeNs: bigint): void {
  // Two `struct timespec`: seconds, and nanoseconds that are never negative.
  const times = new BigInt64Array(4);
  for (const [index, time] of [atimeNs, mtimeNs].entries()) {
    const nanoseconds = ((time % NANOSECONDS) + NANOSECONDS) % NANOSECONDS;
    times[index * 2] = (time - nanoseconds) / NANOSECONDS;
    times[index * 2 + 1] = nanoseconds;
  }
  check('utimensat', raw.utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW) as number);
}

export const AF_INET = 2;
export const SOCK_DGRAM = 2;
export const SOCK_CLOEXEC = 0o2000000;
export const socket = (domain: number, type: number, protocol: number): number =>
  check('socket', raw.socket(domain, type, protocol) as number);

export const AF_UNIX = 1;
export const SOCK_STREAM = 1;

/** `address` is a whole sockaddr structure. */
export const bind = (fd: number, address: Buffer): number =>
  check('bind', raw.bind(fd, address, address.length) as number);

export const listen = (fd: number, backlog: number): number => check('listen', raw.listen(fd, backlog) as number);

/** Makes a FIFO (mkfifo(3)). @throws SystemError EEXIST when the name is taken */
export const makeFifo = (path: string, mode: number): number => check('mkfifo', raw.mkfifo(path, mode) as number);

/** The same numbers on every architecture (include/uapi/asm-generic/unistd.h); glibc has wrappers only since 2.36. */
const SYS_PIDFD_OPEN = 434;
const SYS_PIDFD_GETFD = 438;

/** A descriptor of the process that becomes readable when the process ends. @throws SystemError ESRCH when it is gone */
export const pidfdOpen = (pid: number): number =>
  check('pidfd_open', Number(raw.pidfdOpen(SYS_PIDFD_OPEN, pid, 0) as number | bigint));

/**
 * A copy of another process's descriptor `fd`, of the same open file. Needs ptrace rights.
 * @throws SystemError EBADF when it has no such descriptor, EPERM without the rights, ESRCH when it is gone
 */
export function takeDescriptor(pid: number, fd: number): number {
  const process = pidfdOpen(pid);
  try {
    return check('pidfd_getfd', Number(raw.pidfdGetfd(SYS_PIDFD_GETFD, process, fd, 0) as number | bigint));
  } finally {
    closeSync(process);
  }
}

/** _IOWR('f', 16, struct pm_scan_arg) on x86 and arm; Linux 6.7 and later. */
const PAGEMAP_SCAN = 0xc060_6610;
const PM_SCAN_ARG_BYTES = 96;
const PAGE_IS_FILE = 1 << 2;
const PAGE_IS_PRESENT = 1 << 3;
const PAGE_IS_SWAPPED = 1 << 4;
/** `struct page_region`: start, end, categories, 64 bits each. */
export const PAGE_REGION_BYTES = 24;

/**
 * Fills `regions` with the runs of pages between two addresses that are the process's own, present or swapped out and of no
 * file, in order.
 * @param pagemap descriptor of /proc/PID/pagemap
 * @returns how many; as many as there was room for means that there may be more after the last one. (The kernel's own
 *   `walk_end` is not to be trusted: Linux 6.18 leaves an old value in it after it has emptied its own buffer on the way.)
 * @throws SystemError ENOTTY on an older kernel
 */
export function scanOwnPages(pagemap: number, start: number, end: number, regions: Buffer): number {
  const argument = {
    size: PM_SCAN_ARG_BYTES,
    flags: 0,
    start,
    end,
    walkEnd: 0,
    regions,
    regionCount: Math.floor(regions.length / PAGE_REGION_BYTES),
    maxPages: 0,
    inverted: PAGE_IS_FILE,
    all: PAGE_IS_FILE,
    any: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
    returned: 0,
  };
  return check('ioctl', raw.pagemapScan(pagemap, PAGEMAP_SCAN, argument) as number);
}

/** Most stretches of one {@link readProcess} (IOV_MAX). */
export const MAX_STRETCHES = 1024;
/** `struct iovec` as bytes: address and length, 64 bits each. */
export const STRETCH_BYTES = 16;

/**
 * Reads stretches of another process's memory one after the other into `local`, on a thread of the pool. Needs ptrace
 * rights. Neither buffer may be touched until it has ended.
 * @param remote an array of `struct iovec`
 * @returns bytes read; less than `local` holds when a stretch is not mapped
 */
export function readProcess(pid: number, local: Buffer, remote: Buffer): Promise<number> {
  return new Promise((resolve, reject) => {
    raw.readProcess.async(
      pid,
      [{ base: local, length: local.length }],
      1,
      remote,
      remote.length / STRETCH_BYTES,
      0,
      (error: Error | null, result: number | bigint) => {
        if (error !== null) reject(error);
        // The error number belongs to the thread that made the call: it cannot be asked here.
        else if (Number(result) === -1) reject(new Error(`process_vm_readv of process ${String(pid)} failed`));
        else resolve(Number(result));
      },
    );
  });
}

const POLLIN = 1;
const POLLFD_SIZE = 8;

/** Waits on a thread of the pool, not on this one. Whether the descriptor became readable; false also on a signal. */
export function pollReadable(fd: number, timeoutMs: number): Promise<boolean> {
  const descriptor = Buffer.alloc(POLLFD_SIZE);
  descriptor.writeInt32LE(fd, 0);
  descriptor.writeInt16LE(POLLIN, 4);
  return new Promise((resolve, reject) => {
    raw.poll.async(descriptor, 1, timeoutMs, (error: Error | null, ready: number) => {
      if (error === null) resolve(ready > 0);
      else reject(error);
    });
  });
}
