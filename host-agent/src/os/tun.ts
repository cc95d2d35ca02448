import { closeSync, constants, openSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { Unreachable } from '@offshoot/shared/errors.js';
import { ioctl, ioctlValue, takeDescriptor } from './libc.js';

/** linux/if_tun.h, x86 and arm encoding of the requests. */
const TUNSETIFF = 0x400454ca;
const TUNSETPERSIST = 0x400454cb;
const TUNSETOWNER = 0x400454cc;
const TUNSETOFFLOAD = 0x400454d0;
const TUNGETIFF = 0x800454d2;
const TUNSETVNETHDRSZ = 0x400454d8;
const TUN_DEVICE = '/dev/net/tun';
const IFF_TAP = 0x0002;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;

/** `struct ifreq`: 16 bytes of name, then a union. */
export const IFREQ_BYTES = 40;
export const IFREQ_UNION = 16;

/** `struct virtio_net_hdr`, which precedes each frame unless a hypervisor agreed on another one with its guest. */
const VNET_HEADER_BYTES = 10;

/** Most characters of a device's name (IFNAMSIZ less the NUL). */
export const MAX_DEVICE_NAME = 15;

/**
 * Opens a TAP that exists as long as some process holds the descriptor, which is closed on exec (libuv opens all files
 * so; a child gets it by being handed it). Each frame is preceded by a virtio-net header, as QEMU wants it; it finds that
 * out with TUNGETIFF. The device is down and on no bridge. Opening makes no further process.
 * @throws system errors: ENOENT no tun driver, EACCES or EPERM no rights, EBUSY the name is held by another process
 */
export function openTap(name: string): number {
  return openDevice(name, (fd) => {
    ioctlValue(fd, TUNSETPERSIST, 0); // a hypervisor that was broken into may have made it stay
  });
}

/**
 * Makes a TAP that stays, for a user who then opens it by {@link openOwnTap} without further rights. One that is there is made
 * that user's.
 * @param owner user id
 * @throws system errors as {@link openTap}
 */
export function makeTapFor(name: string, owner: number): void {
  const fd = openDevice(name, (made) => {
    ioctlValue(made, TUNSETOWNER, owner);
    keepTap(made);
  });
  closeSync(fd);
}

/**
 * Opens a TAP that was made for this user and stays: as new, whatever the process did to it that had it before.
 * @throws system errors as {@link openTap}: EPERM also when there is none
 */
export function openOwnTap(name: string): number {
  return openDevice(name, (fd) => {
    keepTap(fd); // as openTap, the other way round
    const headerBytes = Buffer.alloc(4);
    headerBytes.writeInt32LE(VNET_HEADER_BYTES);
    ioctl(fd, TUNSETVNETHDRSZ, headerBytes);
    ioctlValue(fd, TUNSETOFFLOAD, 0);
  });
}

/** @param prepare is given the descriptor, which is closed again if it throws */
function openDevice(name: string, prepare: (fd: number) => void): number {
  const fd = openSync(TUN_DEVICE, constants.O_RDWR);
  try {
    const request = Buffer.alloc(IFREQ_BYTES);
    request.write(name, 0, MAX_DEVICE_NAME, 'latin1');
    request.writeUInt16LE(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, IFREQ_UNION);
    ioctl(fd, TUNSETIFF, request);
    prepare(fd);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Lets a TAP stay when nobody has it open any more. @param fd as of {@link openTap} */
export const keepTap = (fd: number): void => {
  ioctlValue(fd, TUNSETPERSIST, 1);
};

/**
 * Lets a TAP that stays go with the process that has opened it by its name. Needs ptrace rights over the process.
 * @throws Unreachable `TAP_NOT_OPEN` when the process has not opened it; system errors
 */
export function leaveTapTo(pid: number, name: string): void {
  const folder = `/proc/${String(pid)}/fd`;
  for (const fd of readdirSync(folder)) {
    if (linkOf(join(folder, fd)) !== TUN_DEVICE) continue;
    const taken = takeDescriptor(pid, Number(fd));
    try {
      const request = Buffer.alloc(IFREQ_BYTES);
      ioctl(taken, TUNGETIFF, request);
      if (request.toString('latin1', 0, request.indexOf(0)) !== name) continue;
      ioctlValue(taken, TUNSETPERSIST, 0);
      return;
    } finally {
      closeSync(taken);
    }
  }
  throw new Unreachable(`process ${String(pid)} has not opened ${name}`, {
    reason: 'TAP_NOT_OPEN',
    metadata: { tap: name },
  });
}

/** Undefined when it was closed meanwhile. */
function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}
