import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';

/** Another process that has a folder locked, until it is told to let go or its test is over. */
export class LockedElsewhere implements Disposable {
  private constructor(private readonly holder: ChildProcess) {}

  static async take(folder: string, mode: '--shared' | '--exclusive'): Promise<LockedElsewhere> {
    const argv = ['--no-fork', mode, folder, 'sh', '-c', 'echo held; read -r line'];
    const holder = spawn('flock', argv, { stdio: ['pipe', 'pipe', 'inherit'] });
    await once(holder.stdout, 'data');
    return new LockedElsewhere(holder);
  }

  async letGo(): Promise<void> {
    this.holder.stdin?.end();
    await once(this.holder, 'exit');
  }

  async kill(): Promise<void> {
    this.holder.kill('SIGKILL');
    await once(this.holder, 'exit');
  }

  [Symbol.dispose](): void {
    this.holder.stdin?.end();
  }
}
