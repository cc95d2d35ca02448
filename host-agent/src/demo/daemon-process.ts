import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface, type Interface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { SettingKey } from '../config/settings.js';

const offshootd = fileURLToPath(new URL('../offshootd.js', import.meta.url));

export interface DaemonOptions {
  readonly settings: Partial<Record<SettingKey, string>>;
  /** The daemon's script; that of this build when left out. */
  readonly program?: string;
  /** Program and arguments the daemon is started through, such as `unshare --net`. */
  readonly through?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
}

/** An offshootd of our own, for the demo, the bench and the tests. */
export class DaemonProcess implements AsyncDisposable {
  private constructor(
    private readonly child: ChildProcess,
    /** What it serves on, as the command line's `--host` takes it. */
    readonly address: string,
    private readonly output: string[],
    private readonly lines: Interface,
  ) {}

  /** Starts a daemon and resolves when it serves. @throws with everything it said when it ends before that */
  static async start({
    settings,
    program = offshootd,
    through = [],
    environment = {},
  }: DaemonOptions): Promise<DaemonProcess> {
    const flags = Object.entries(settings).map(([key, value]) => `--${key.replace(/[._]/g, '-')}=${value}`);
    const [file = process.execPath, ...rest] = [...through, process.execPath, program, ...flags];
    // In a session of its own: Ctrl-C in a terminal must reach whoever started it, which then ends it, after its VMs.
    const child = spawn(file, rest, {
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...environment },
    });
    const output: string[] = [];
    child.stderr.on('data', (data: Buffer) => output.push(data.toString()));
    const ended = new Promise<never>((_, reject) => {
      child.once('error', reject);
      child.once('close', () => {
        reject(new Error(`the daemon ended before it was ready: ${output.join('\n').trim()}`));
      });
    });
    // Read for as long as it lives: a full pipe would stop the daemon.
    const lines = createInterface({ input: child.stdout });
    const ready = new Promise<string>((resolve) => {
      lines.on('line', (line) => {
        output.push(line);
        const address = readyAddress(line);
        if (address !== undefined) resolve(address);
      });
    });
    return new DaemonProcess(child, await Promise.race([ready, ended]), output, lines);
  }

  /** Resolves when it has logged a line with this in it. @throws when it ends before that */
  async logged(text: string): Promise<void> {
    if (this.output.some((line) => line.includes(text))) return;
    await new Promise<void>((resolve, reject) => {
      this.lines.on('line', (line) => {
        if (line.includes(text)) resolve();
      });
      this.lines.once('close', () => {
        reject(new Error(`the daemon ended before it logged "${text}"`));
      });
    });
  }

  /** What it logged and wrote to stderr so far. */
  get log(): string {
    return this.output.join('\n');
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  /** Ends the daemon and waits for it; VMs run on. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const closed = once(this.child, 'close');
    this.child.kill(signal);
    await closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

function readyAddress(line: string): string | undefined {
  if (!line.includes('"msg":"ready"')) return undefined;
  const { address } = JSON.parse(line) as { address?: unknown };
  return typeof address === 'string' ? address : undefined;
}
