import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

/** The running program of a library. One request after the other. */
export class LibraryProgram implements AsyncDisposable {
  private readonly answers: AsyncIterator<string>;
  private complaints = '';
  private isAsked = false;

  private constructor(private readonly child: ChildProcessWithoutNullStreams) {
    this.answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    child.stderr.on('data', (text: Buffer) => (this.complaints += text.toString()));
  }

  /** @param agentSocket where the library looks for an agent; nobody listens there unless the test does */
  static start([program, ...args]: readonly [string, ...string[]], agentSocket: string): LibraryProgram {
    const env = { ...process.env, OFFSHOOT_GUEST_SOCKET: agentSocket };
    return new LibraryProgram(spawn(program, args, { env, stdio: 'pipe' }));
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  async ask(...fields: readonly (string | number)[]): Promise<string> {
    this.child.stdin.write(`${fields.join(' ')}\n`);
    this.isAsked = true;
    const answer = await this.answers.next();
    this.isAsked = false;
    if (answer.done === true) throw new Error(`the program ended: ${this.complaints}`);
    return answer.value;
  }

  /** Ends it, and fails when it ended otherwise or complained. */
  async [Symbol.asyncDispose](): Promise<void> {
    const ended = this.child.exitCode === null ? once(this.child, 'close') : undefined;
    this.child.stdin.end();
    if (this.isAsked) this.child.kill('SIGKILL'); // a test gave up waiting for it
    await ended;
    const { exitCode } = this.child;
    if (exitCode !== 0 || this.complaints !== '') throw new Error(`exit code ${String(exitCode)}: ${this.complaints}`);
  }
}

export const hexed = (data: Uint8Array | string): string => Buffer.from(data).toString('hex') || '-';
