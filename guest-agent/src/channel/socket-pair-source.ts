import { Socket } from 'node:net';
import koffi from 'koffi';
import type { ByteConnection, ByteSource } from './byte-source.js';
import { DescriptorConnection } from './descriptor-connection.js';

const AF_UNIX = 1;
const SOCK_STREAM = 1;

/** For tests: a byte channel whose host end is a socket of this process; the guest end is read on the thread pool. */
export class SocketPairSource implements ByteSource {
  readonly host: Socket;
  private readonly guest: ByteConnection;

  constructor() {
    const ends = [0, 0];
    const socketpair = koffi
      .load('libc.so.6')
      .func('int socketpair(int domain, int type, int protocol, _Out_ int *ends)');
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) !== 0) throw new Error('socketpair failed');
    this.host = new Socket({ fd: ends[0] ?? -1 });
    this.guest = new DescriptorConnection(ends[1] ?? -1);
  }

  open(): Promise<ByteConnection> {
    return Promise.resolve(this.guest);
  }
}
