import { closeSync } from 'node:fs';
import koffi from 'koffi';

/**
 * The calls Node does not offer. All foreign functions of the agent are declared here and nowhere else. They block, so
 * they are used where the kernel answers from memory; `sync` alone runs on a thread. Constants are those of x86-64 Linux.
 */
const library = koffi.load('libc.so.6');

const raw = {
  ioctl: library.func('int ioctl(int fd, unsigned long request, _Inout_ void *argument)'),
  socket: library.func('int socket(int domain, int type, int protocol)'),
  mmap: library.func('void *mmap(void *address, size_t length, int protection, int flags, int fd, int64 offset)'),
  madvise: library.func('int madvise(void *address, size_t length, int advice)'),
  mlock: library.func('int mlock(void *address, size_t length)'),
  clockSettime: library.func('int clock_settime(int clock, const void *time)'),
  sethostname: library.func('int sethostname(const char *name, size_t length)'),
  bind: library.func('int bind(int fd, const void *address, uint32_t length)'),
  listen: library.func('int listen(int fd, int backlog)'),
  connect: library.func('int connect(int fd, const void *address, uint32_t length)'),
  accept: library.func('int accept4(int fd, _Inout_ void *address, _Inout_ void *length, int flags)'),
  getsockopt: library.func('int getsockopt(int fd, int level, int option, _Inout_ void *value, _Inout_ void *length)'),
  recv: library.func('intptr_t recv(int fd, _Inout_ void *into, size_t length, int flags)'),
  send: library.func('intptr_t send(int fd, const void *bytes, size_t length, int flags)'),
  shutdown: library.func('int shutdown(int fd, int how)'),
  poll: library.func('int poll(_Inout_ void *descriptors, unsigned long count, int timeout)'),
};

export class SystemError extends Error {
  readonly code: string;

  constructor(
    readonly syscall: string,
    readonly errno: number,
  ) {
    const code = codeOf(errno);
    super(`${code}: ${syscall}`);
    this.name = 'SystemError';
    this.code = code;
  }
}

const codes = new Map(Object.entries(koffi.os.errno).map(([name, value]) => [value, name]));
const codeOf = (errno: number): string => codes.get(errno) ?? `E${String(errno)}`;

function check(syscall: string, result: number): number {
  if (result === -1) throw new SystemError(syscall, koffi.errno());
  return result;
}

/** `argument` is the structure, read and written in place. @throws SystemError */
export const ioctl = (fd: number, request: number, argument: Buffer): number =>
  check('ioctl', raw.ioctl(fd, request, argument) as number);

const AF_INET = 2;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;

/** A socket that carries nothing: the handle for network ioctls. */
export const openControlSocket = (): number =>
  check('socket', raw.socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) as number);

const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOL_SOCKET = 1;
const SO_ERROR = 4;
const SHUT_RDWR = 2;
const MSG_NOSIGNAL = 0x4000;
/** `struct sockaddr_storage`. */
const MAX_ADDRESS_BYTES = 128;
const BACKLOG = 8;

/** Not now: for a socket in non-blocking mode, and a connection on its way. */
const { EAGAIN, EINPROGRESS, EINTR } = koffi.os.errno;
const LATER: ReadonlySet<number | undefined> = new Set([EAGAIN, EINPROGRESS, EINTR]);

/** The result of a call on a socket in non-blocking mode; undefined where it has to be tried again later. */
function unlessLater(syscall: string, result: number): number | undefined {
  if (result !== -1) return result;
  const error = new SystemError(syscall, koffi.errno());
  if (LATER.has(error.errno)) return undefined;
  throw error;
}

/**
 * A stream socket in non-blocking mode of the address's family. Addresses are `struct sockaddr_*` whole.
 * @throws SystemError EAFNOSUPPORT where the kernel does not know the family
 */
const openStream = (address: Buffer): number =>
  check('socket', raw.socket(address.readUInt16LE(0), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) as number);

/** A socket that takes connections at an address. @throws SystemError EADDRINUSE */
export function listenAt(address: Buffer): number {
  const fd = openStream(address);
  try {
    check('bind', raw.bind(fd, address, address.length) as number);
    check('listen', raw.listen(fd, BACKLOG) as number);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** A connection that waits at a socket that listens, in non-blocking mode, and the address it is from; undefined: none does. */
export function accept(listener: number): { readonly fd: number; readonly peer: Buffer } | undefined {
  const peer = Buffer.alloc(MAX_ADDRESS_BYTES);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(peer.length);
  const result = raw.accept(listener, peer, length, SOCK_CLOEXEC | SOCK_NONBLOCK) as number;
  const fd = unlessLater('accept', result);
  return fd === undefined ? undefined : { fd, peer: peer.subarray(0, length.readUInt32LE()) };
}

/** A socket that connects to an address: it does so once it can be written to and {@link socketError} is 0. */
export function connectTo(address: Buffer): number {
  const fd = openStream(address);
  try {
    unlessLater('connect', raw.connect(fd, address, address.length) as number);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** What a socket failed with since this was asked last. */
export function socketError(fd: number): SystemError | undefined {
  const value = Buffer.alloc(4);
  const length = Buffer.from([4, 0, 0, 0]);
  check('getsockopt', raw.getsockopt(fd, SOL_SOCKET, SO_ERROR, value, length) as number);
  return value.readInt32LE() === 0 ? undefined : new SystemError('connect', value.readInt32LE());
}

/** Bytes that have come; 0 at the end of the connection; undefined where none have come yet. @throws SystemError ECONNRESET */
export const receive = (fd: number, into: Buffer): number | undefined =>
  unlessLater('recv', raw.recv(fd, into, into.length, 0) as number);

/** How many of the bytes were taken; undefined where none can be now. @throws SystemError EPIPE, ECONNRESET */
export const transmit = (fd: number, bytes: Buffer): number | undefined =>
  unlessLater('send', raw.send(fd, bytes, bytes.length, MSG_NOSIGNAL) as number);

/** Ends a connection both ways: whoever waits for it wakes. The descriptor stays open. */
export const shutdownSocket = (fd: number): void => {
  raw.shutdown(fd, SHUT_RDWR); // ENOTCONN: it has ended by itself
};

export const POLL_IN = 0x01;
export const POLL_OUT = 0x04;

/** Waits on a thread, for as long as it takes, until something can be done with one of the descriptors; says with which. */
export function whenReady(
  descriptors: readonly { readonly fd: number; readonly events: number }[],
): Promise<readonly boolean[]> {
  // `struct pollfd`: the descriptor, events asked for, events that are there.
  const request = Buffer.alloc(8 * descriptors.length);
  descriptors.forEach(({ fd, events }, i) => {
    request.writeInt32LE(fd, 8 * i);
    request.writeInt16LE(events, 8 * i + 4);
  });
  return new Promise((resolve, reject) => {
    raw.poll.async(request, descriptors.length, -1, (error: unknown) => {
      // A signal: nothing is ready, and whoever asked asks again.
      if (error !== null && error !== undefined) reject(error instanceof Error ? error : new Error('poll failed'));
      else resolve(descriptors.map((_, i) => request.readInt16LE(8 * i + 6) !== 0));
    });
  });
}

const PROT_READ_WRITE = 1 | 2;
const MAP_PRIVATE_ANONYMOUS_POPULATE = 0x02 | 0x20 | 0x8000;
const MADV_DONTFORK = 10;
const MAP_FAILED = 0xffff_ffff_ffff_ffffn;

/** Fresh zeroed pages: where they are for this process, and their bytes. Never unmapped: views may outlive any owner. */
export function mapPages(length: number): { readonly address: bigint; readonly bytes: Buffer } {
  const pointer: unknown = raw.mmap(null, length, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS_POPULATE, -1, 0);
  const address = koffi.address(pointer);
  if (address === MAP_FAILED) throw new SystemError('mmap', koffi.errno());
  // A child would share the pages until one side writes, and then the writer's page is another one, elsewhere in memory.
  check('madvise', raw.madvise(pointer, length, MADV_DONTFORK) as number);
  // Keeps the pages in memory. Not allowed, or over the limit: they are still where they are, only less surely.
  raw.mlock(pointer, length);
  return { address, bytes: Buffer.from(koffi.view(pointer, length)) };
}

const CLOCK_REALTIME = 0;
const NS_PER_MS = 1e6;

/** Sets the wall clock, in milliseconds since 1970 with a fraction down to nanoseconds. @throws SystemError */
export function setRealTime(unixMs: number): void {
  const seconds = Math.floor(unixMs / 1000);
  const timespec = Buffer.alloc(16);
  timespec.writeBigInt64LE(BigInt(seconds), 0);
  timespec.writeBigInt64LE(BigInt(Math.floor((unixMs - seconds * 1000) * NS_PER_MS)), 8);
  check('clock_settime', raw.clockSettime(CLOCK_REALTIME, timespec) as number);
}

/** The kernel's host name; at most 64 bytes. @throws SystemError */
export const setKernelHostname = (name: string): number =>
  check('sethostname', raw.sethostname(name, Buffer.byteLength(name)) as number);

/** Writes everything dirty to the disks. */
export const sync = (): Promise<void> =>
  new Promise((resolve, reject) => {
    library.func('void sync()').async((error: unknown) => {
      if (error === null || error === undefined) resolve();
      else reject(error instanceof Error ? error : new Error('sync failed'));
    });
  });

/** LINUX_REBOOT_CMD_POWER_OFF and _RESTART of linux/reboot.h, as the signed int glibc's reboot(2) takes. */
const REBOOT = { 'power off': 0x4321fedc, reset: 0x01234567 } as const;

/** Does not return where it is allowed. @throws SystemError EPERM without CAP_SYS_BOOT */
export const endMachine = (how: keyof typeof REBOOT): number =>
  check('reboot', library.func('int reboot(int command)')(REBOOT[how]) as number);
