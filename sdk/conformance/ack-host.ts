import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';

/** The host's end of acknowledgements over UDP: hears lines, and answers the n-th with what the test says. */
export class AckHost implements AsyncDisposable {
  readonly lines: string[] = [];

  private constructor(
    private readonly socket: Socket,
    /** Datagrams to answer the line with that came as the n-th, from 1 on. */
    answers: (count: number) => readonly string[],
  ) {
    socket.on('message', (line, from) => {
      this.lines.push(line.toString('latin1'));
      for (const answer of answers(this.lines.length)) socket.send(answer, from.port, from.address);
    });
  }

  static async open(answers: (count: number) => readonly string[]): Promise<AckHost> {
    const socket = createSocket('udp4');
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    return new AckHost(socket, answers);
  }

  get port(): number {
    return this.socket.address().port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.close();
    await once(this.socket, 'close');
  }
}
