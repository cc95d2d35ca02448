import { close, read, write } from 'node:fs';
import { promisify } from 'node:util';
import type { ByteConnection } from './byte-source.js';

const closeDescriptor = promisify(close);

/**
 * A byte channel on a file descriptor in blocking mode, read and written on Node's thread pool: a virtio-serial port
 * answers neither epoll through Node nor, while no host reads, a write; a synchronous one would freeze the agent.
 */
export class DescriptorConnection implements ByteConnection {
  readonly outlivesAgent = true;

  constructor(private readonly descriptor: number) {}

  read(into: Buffer): Promise<number> {
    return new Promise((resolve, reject) => {
      read(this.descriptor, into, 0, into.length, null, (error, count) => {
        if (error === null) resolve(count);
        else reject(error);
      });
    });
  }

  write(bytes: Buffer): Promise<number> {
    return new Promise((resolve, reject) => {
      write(this.descriptor, bytes, 0, bytes.length, null, (error, count) => {
        if (error === null) resolve(count);
        else reject(error);
      });
    });
  }

  close(): Promise<void> {
    return closeDescriptor(this.descriptor);
  }
}
