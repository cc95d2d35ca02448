import { open } from 'node:fs/promises';
import { execa } from 'execa';
import { DISK_FORMATS } from '../../domain/storage-name.js';
import type { CapturePaths } from '../../paths.js';
import type { DiskStorage } from '../../ports/disk-storage.js';

/** What tests write at once, in bytes, and where. */
export const STRETCH = 64 * 1024;

/** Reads and writes disks of a storage as a guest would, a stretch at a time. */
export class DiskContent {
  private readonly format;

  constructor({ name }: DiskStorage) {
    this.format = DISK_FORMATS[name];
  }

  /** @param value of each byte @param offset in bytes */
  async write(folder: CapturePaths, value: number, offset: number, length = STRETCH): Promise<void> {
    if (this.format === 'qcow2') {
      await this.qemuIo(folder, `write -P ${String(value)} ${String(offset)} ${String(length)}`);
      return;
    }
    await using file = await open(folder.disk('raw'), 'r+');
    await file.write(Buffer.alloc(length, value), 0, length, offset);
  }

  /** Whether a stretch holds nothing but this. */
  async holds(folder: CapturePaths, value: number, offset: number): Promise<boolean> {
    if (this.format === 'qcow2') {
      const said = await this.qemuIo(folder, `read -P ${String(value)} ${String(offset)} ${String(STRETCH)}`);
      return !/verification failed/i.test(said);
    }
    await using file = await open(folder.disk('raw'), 'r');
    const { buffer, bytesRead } = await file.read(Buffer.alloc(STRETCH), 0, STRETCH, offset);
    return bytesRead === STRETCH && buffer.equals(Buffer.alloc(STRETCH, value));
  }

  private async qemuIo(folder: CapturePaths, command: string): Promise<string> {
    const result = await execa('qemu-io', ['-f', 'qcow2', '-c', command, folder.disk('qcow2')], {
      all: true,
      reject: false,
    });
    const failed = result.failed && !/verification failed/i.test(result.all);
    if (failed) throw new Error(`qemu-io: ${result.all}`);
    return result.all;
  }
}
