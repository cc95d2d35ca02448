import { once } from 'node:events';
import { join } from 'node:path';
import { execa } from 'execa';

/**
 * A mount namespace of a test's own. It is that of a process that waits for its input to end: when the test ends, however it
 * does, the kernel takes the mounts away.
 */
export class MountNamespace implements AsyncDisposable {
  private constructor(private readonly holder: ReturnType<typeof startHolder>) {}

  static async open(): Promise<MountNamespace> {
    const holder = startHolder();
    // It speaks when it is in its namespace.
    await once(holder.stdout, 'data');
    return new MountNamespace(holder);
  }

  /** What stands before a program that is to run in it, which starts in `/`. */
  get entry(): readonly [string, ...string[]] {
    return ['nsenter', '--mount', `--target=${String(this.holder.pid)}`, '--'];
  }

  /** A path of it, as this process sees it. */
  inside(path: string): string {
    return join('/proc', String(this.holder.pid), 'root', path);
  }

  /** Runs a program in it. @returns what that prints */
  async run(...command: readonly string[]): Promise<string> {
    const [program, ...rest] = this.entry;
    return (await execa(program, [...rest, ...command])).stdout;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.holder.stdin.end();
    await this.holder;
  }
}

function startHolder() {
  return execa('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', 'echo ready; exec cat'], {
    stdin: 'pipe',
    stdout: 'pipe',
    buffer: false,
  });
}
