import { constants, open } from 'node:fs';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { NotFound, errnoOf } from '@offshoot/shared/errors.js';
import type { ByteConnection, ByteSource } from './byte-source.js';
import { DescriptorConnection } from './descriptor-connection.js';

const PORT_NAME = 'offshoot.0';

const openDescriptor = promisify(open);

/** The virtio-serial port named `offshoot.0`. The kernel lets one process open it at a time. */
export class VirtioSerialSource implements ByteSource {
  constructor(private readonly root = '/') {}

  async open(): Promise<ByteConnection> {
    const flags = constants.O_RDWR;
    try {
      // udev's name, where there is udev.
      return new DescriptorConnection(await openDescriptor(join(this.root, 'dev/virtio-ports', PORT_NAME), flags));
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
      return new DescriptorConnection(await openDescriptor(await this.findPort(), flags));
    }
  }

  private async findPort(): Promise<string> {
    const ports = join(this.root, 'sys/class/virtio-ports');
    for (const port of await readdir(ports).catch((): string[] => [])) {
      const name = await readFile(join(ports, port, 'name'), 'latin1').catch(() => '');
      if (name.trim() === PORT_NAME) return join(this.root, 'dev', port);
    }
    throw new NotFound(`no virtio-serial port named ${PORT_NAME}`, { reason: 'CHANNEL_MISSING' });
  }
}
