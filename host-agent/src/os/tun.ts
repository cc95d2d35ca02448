import { closeSync, constants, openSync } from 'node:fs';
import { ioctl, ioctlValue } from './libc.js';

/** linux/if_tun.h, x86 and arm encoding of the requests. */
const TUNSETIFF = 0x400454ca;
const TUNSETPERSIST = 0x400454cb;
const IFF_TAP = 0x0002;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;

/** `struct ifreq`: 16 bytes of name, then a union. */
export const IFREQ_BYTES = 40;
export const IFREQ_UNION = 16;

/** Most characters of a device's name (IFNAMSIZ less the NUL). */
export const MAX_DEVICE_NAME = 15;

/**
 * Opens a TAP that exists as long as some process holds the descriptor, which is closed on exec (libuv opens all files
 * so; a child gets it by being handed it). Each frame is preceded by a virtio-net header, as QEMU wants it; it finds that
 * out with TUNGETIFF. The device is down and on no bridge. Opening makes no further process.
 * @throws system errors: ENOENT no tun driver, EACCES or EPERM no rights, EBUSY the name is held by another process
 */
export function openTap(name: string): number {
  const fd = openSync('/dev/net/tun', constants.O_RDWR);
  try {
    const request = Buffer.alloc(IFREQ_BYTES);
    request.write(name, 0, MAX_DEVICE_NAME, 'latin1');
    request.writeUInt16LE(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, IFREQ_UNION);
    ioctl(fd, TUNSETIFF, request);
    ioctlValue(fd, TUNSETPERSIST, 0); // a hypervisor that was broken into may have made it stay
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}
