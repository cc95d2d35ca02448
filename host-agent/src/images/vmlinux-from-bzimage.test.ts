import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { extractVmlinux } from './vmlinux-from-bzimage.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'offshoot-vmlinux-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** Compressible, and longer than a buffer of any of the programs. */
function elf({ bits = 64, machine = 62 } = {}): Buffer {
  const image = Buffer.alloc(300_000, 'kernel code ');
  image.write('\x7fELF', 'latin1');
  image.set([bits / 32, 1, 1], 4);
  image.writeUInt16LE(machine, 18);
  return image;
}

const sizeOf = (image: Buffer): Buffer => {
  const size = Buffer.alloc(4);
  size.writeUInt32LE(image.length);
  return size;
};

/** Payload as the kernel's Makefile makes it: packed, its size after it. */
async function packed(image: Buffer, command: string, ...args: string[]): Promise<Buffer> {
  const { stdout } = await execa(command, args, { input: image, encoding: 'buffer' });
  return Buffer.concat([stdout, sizeOf(image)]);
}

interface Fields {
  readonly protocol?: number;
  readonly setupSectors?: number;
  readonly length?: number;
}

function bzImage(
  payload: Buffer,
  { protocol = 0x20f, setupSectors = 27, length = payload.length }: Fields = {},
): Buffer {
  const codeBefore = 0x2c4;
  const start = ((setupSectors === 0 ? 4 : setupSectors) + 1) * 512;
  const image = Buffer.alloc(start + codeBefore + payload.length + 1000, 0x90);
  image.writeUInt8(setupSectors, 0x1f1);
  image.write('HdrS', 0x202, 'latin1');
  image.writeUInt16LE(protocol, 0x206);
  image.writeUInt32LE(codeBefore, 0x248);
  image.writeUInt32LE(length, 0x24c);
  payload.copy(image, start + codeBefore);
  return image;
}

async function extract(kernel: Buffer): Promise<Buffer> {
  await writeFile(join(folder, 'bzImage'), kernel);
  await extractVmlinux(join(folder, 'bzImage'), join(folder, 'vmlinux'), join(folder, 'scratch'));
  return readFile(join(folder, 'vmlinux'));
}

const hasLz4 = (await execa('lz4', ['--version'], { reject: false })).exitCode === 0;

describe('the vmlinux of a bzImage', () => {
  it('is found whatever the number of setup sectors, 0 standing for 4', async () => {
    const image = elf();
    const kernel = bzImage(gzipSync(image), { setupSectors: 0 });
    expect((await extract(kernel)).equals(image)).toBe(true);
  });

  it.each([
    ['gzip', async (image: Buffer) => Promise.resolve(gzipSync(image))],
    // The very options of the kernel's xz_wrap.sh.
    [
      'xz with the filter for x86 code',
      (image: Buffer) => packed(image, 'xz', '--check=crc32', '--x86', '--lzma2=dict=32MiB'),
    ],
    ['zstd', (image: Buffer) => packed(image, 'zstd', '-q', '-c')],
    ['lzma', (image: Buffer) => packed(image, 'xz', '--format=lzma', '-c')],
  ])('is unpacked from %s', async (_, pack) => {
    const image = elf();
    expect((await extract(bzImage(await pack(image)))).equals(image)).toBe(true);
  });

  it.skipIf(!hasLz4)(`is unpacked from lz4${hasLz4 ? '' : ' (skipped: lz4)'}`, async () => {
    const image = elf();
    expect((await extract(bzImage(await packed(image, 'lz4', '-l', '-c')))).equals(image)).toBe(true);
  });

  const payload = gzipSync(elf());
  const cut = Buffer.concat([payload.subarray(0, payload.length / 2), sizeOf(elf())]);
  const wrongSize = Buffer.concat([payload.subarray(0, -4), sizeOf(Buffer.alloc(7))]);
  it.each<[string, () => Buffer | Promise<Buffer>, RegExp]>([
    ['a file that is too short', () => Buffer.alloc(100), /no setup header/],
    ['a file without the magic', () => Buffer.alloc(4096), /no setup header/],
    ['a boot protocol without a payload', () => bzImage(payload, { protocol: 0x207 }), /before 2\.08/],
    ['a payload beyond the end', () => bzImage(payload, { length: 2 ** 31 }), /its payload is at/],
    ['an empty payload', () => bzImage(payload, { length: 0 }), /its payload is at/],
    ['a compression nobody knows', () => bzImage(Buffer.from('BZh9 and more')), /begins with 425a68392061/],
    ['a payload cut short', () => bzImage(cut), /its gzip payload cannot be unpacked/],
    ['a payload of another size', () => bzImage(wrongSize), /incorrect length check|instead of 7/],
    [
      'a damaged xz payload',
      () => bzImage(Buffer.from('\xfd7zXZ\0 but no more', 'latin1')),
      /its xz payload cannot be unpacked/,
    ],
    [
      'an xz payload of another size',
      async () => bzImage(Buffer.concat([(await packed(elf(), 'xz', '-c')).subarray(0, -4), sizeOf(Buffer.alloc(7))])),
      /300000 bytes unpacked instead of 7/,
    ],
    ['a payload that is no ELF file', () => bzImage(gzipSync(Buffer.alloc(5000))), /no ELF file$/],
    ['a 32-bit ELF file', () => bzImage(gzipSync(elf({ bits: 32 }))), /no ELF file for 64-bit x86/],
    ['an ELF file for another processor', () => bzImage(gzipSync(elf({ machine: 183 }))), /no ELF file for 64-bit x86/],
  ])('is refused from %s', async (_, kernel, message) => {
    await expect(extract(await kernel())).rejects.toMatchObject({
      kind: 'Corrupt',
      reason: 'KERNEL_FORMAT',
      message: expect.stringMatching(message) as string,
    });
  });
});
