import { openSync, readSync } from 'node:fs';
import { ioctl } from './libc.js';

/** Requests of linux/random.h. */
const RNDADDENTROPY = 0x40085203;
const RNDRESEEDCRNG = 0x5207;
/** struct rand_pool_info: bits to credit, bytes that follow (4 each), then the bytes. */
const POOL_INFO_HEADER = 8;

let descriptor: number | undefined;
const device = (): number => (descriptor ??= openSync('/dev/urandom', 'r'));

/**
 * Random bytes of the kernel. OpenSSL's generator (node:crypto) does not do here: its state lies in this process, so all
 * forks of a VM would draw the same tokens and nonces from it.
 */
export function randomBytes(size: number): Buffer {
  const bytes = Buffer.alloc(size);
  readSync(device(), bytes, 0, size, null);
  return bytes;
}

/** Mixes bytes into the kernel's pool, credits them fully, and has its generator reseeded at once. @throws SystemError */
export function addEntropy(bytes: Buffer): void {
  const info = Buffer.alloc(POOL_INFO_HEADER + bytes.length);
  info.writeInt32LE(bytes.length * 8, 0);
  info.writeInt32LE(bytes.length, 4);
  bytes.copy(info, POOL_INFO_HEADER);
  ioctl(device(), RNDADDENTROPY, info);
  info.fill(0);
  ioctl(device(), RNDRESEEDCRNG, info);
}
