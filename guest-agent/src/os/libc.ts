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

/** LINUX_REBOOT_CMD_POWER_OFF of linux/reboot.h, as the signed int glibc's reboot(2) takes. */
const POWER_OFF = 0x4321fedc;

/** Does not return where it is allowed. @throws SystemError EPERM without CAP_SYS_BOOT */
export const powerOff = (): number => check('reboot', library.func('int reboot(int command)')(POWER_OFF) as number);
