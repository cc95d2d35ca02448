import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { read, writeSync } from 'node:fs';
import { promisify } from 'node:util';
import type { NicAttachment } from '../../ports/network.js';
import { asRoot } from './scenario-world.js';
import { parseFrame, type Received } from './ethernet-frames.js';

/** Everything the network adapters could leave behind. */
export async function hostState(): Promise<{ links: string; addresses: string; neighbours: string; rules: string }> {
  return {
    links: await asRoot('ip', '-o', 'link'),
    addresses: await asRoot('ip', '-o', 'address'),
    neighbours: await asRoot('ip', 'neighbour'),
    rules: await asRoot('nft', 'list', 'ruleset'),
  };
}

/** A UDP socket of the host that keeps what it hears. */
export class HostSocket {
  private readonly heard: string[] = [];
  private constructor(private readonly socket: Socket) {
    socket.on('message', (text, { address }) => this.heard.push(`${text.toString()} from ${address}`));
  }

  static async bind(address: string, port = 0): Promise<HostSocket> {
    const socket = createSocket('udp4');
    socket.bind(port, address);
    await once(socket, 'listening');
    return new HostSocket(socket);
  }

  get port(): number {
    return this.socket.address().port;
  }

  async send(text: string, address: string, port: number): Promise<void> {
    await promisify((done: (error: Error | null) => void) => {
      this.socket.send(text, port, address, done);
    })();
  }

  /** All it heard until now. What has arrived in the kernel is ahead of the socket's own message to itself. */
  async close(): Promise<string[]> {
    const { address, port } = this.socket.address();
    await this.send('end', address === '0.0.0.0' ? '127.0.0.1' : address, port);
    const isEnd = (message: string): boolean => message.startsWith('end from');
    while (!this.heard.some(isEnd)) await once(this.socket, 'message');
    this.socket.close();
    return this.heard.filter((message) => !isEnd(message));
  }
}

/** The guest's end of a TAP: what a VMM would do with the descriptor. */
export class TestGuest {
  readonly descriptor: number;
  constructor(attachment: NicAttachment) {
    if (attachment.backend.kind !== 'tap') throw new Error('not a TAP');
    this.descriptor = attachment.backend.descriptor;
  }

  /** The kernel has taken the frame all the way up when this returns. */
  send(frame: Buffer): void {
    writeSync(this.descriptor, frame);
  }

  /** Frames up to and including a datagram with this text. */
  async receiveUntil(text: string): Promise<Received[]> {
    const frames: Received[] = [];
    for (;;) {
      const { bytesRead, buffer } = await promisify(read)(this.descriptor, Buffer.alloc(2048), 0, 2048, null);
      const frame = parseFrame(buffer.subarray(0, bytesRead));
      frames.push(frame);
      if (frame.kind === 'udp' && frame.text === text) return frames;
    }
  }
}
