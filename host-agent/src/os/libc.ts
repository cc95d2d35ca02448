import koffi from 'koffi';

/**
 * The calls Node does not offer. All foreign functions of the host agent are declared here and nowhere else; they block,
 * so callers use them only where the kernel answers from memory. Each returns the call's own result and throws a Node-like
 * system error (`code`, `errno`, `syscall`) on -1.
 */
const library = koffi.load('libc.so.6');

const raw = {
  ioctl: library.func('int ioctl(int fd, unsigned long request, _Inout_ void *argument)'),
  ioctlValue: library.func('int ioctl(int fd, unsigned long request, long argument)'),
  lseek: library.func('int64 lseek(int fd, int64 offset, int whence)'),
  flock: library.func('int flock(int fd, int operation)'),
  copyFileRange: library.func(
    'int64 copy_file_range(int in, _Inout_ int64 *inOffset, int out, _Inout_ int64 *outOffset, uint64 length, unsigned int flags)',
  ),
  socket: library.func('int socket(int domain, int type, int protocol)'),
  bind: library.func('int bind(int fd, const void *address, uint32 length)'),
  listen: library.func('int listen(int fd, int backlog)'),
  pidfdOpen: library.func('long syscall(long number, int pid, unsigned int flags)'),
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

export const LOCK_EX = 2;
export const LOCK_NB = 4;
export const LOCK_UN = 8;
export const flock = (fd: number, operation: number): number => check('flock', raw.flock(fd, operation) as number);

/** Copies at most `length` bytes between files without passing them through this process; returns how many. */
export const copyFileRange = (
  input: number,
  inputOffset: number,
  output: number,
  outputOffset: number,
  length: number,
): number => {
  const copied = raw.copyFileRange(input, [inputOffset], output, [outputOffset], length, 0) as number | bigint;
  return check('copy_file_range', Number(copied));
};

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

/** The same number on every architecture (include/uapi/asm-generic/unistd.h); glibc has a wrapper only since 2.36. */
const SYS_PIDFD_OPEN = 434;

/** A descriptor of the process that becomes readable when the process ends. @throws SystemError ESRCH when it is gone */
export const pidfdOpen = (pid: number): number =>
  check('pidfd_open', Number(raw.pidfdOpen(SYS_PIDFD_OPEN, pid, 0) as number | bigint));

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
