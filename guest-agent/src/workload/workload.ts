import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { InvalidInput, InvalidState, messageOf } from '@offshoot/shared/errors.js';
import type { OutputRing } from './output-ring.js';
import type { WorkloadCgroup } from './workload-cgroup.js';
import { writeWorkloadFiles, type GuestFile } from './workload-files.js';

export interface WorkloadRequest {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** `/` when empty. */
  readonly workingDirectory: string;
  readonly files: readonly GuestFile[];
}

/** What a workload finds in its environment unless the request says otherwise. */
const DEFAULT_ENV: Readonly<Record<string, string>> = {
  PATH: '/opt/offshoot:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  HOME: '/root',
  LANG: 'C.UTF-8',
};

/** The one program the host has the agent run. */
export class Workload {
  private busy = false;
  private chunks = 0;

  constructor(
    private readonly output: OutputRing,
    private readonly group: Pick<WorkloadCgroup, 'spawnInside'>,
  ) {}

  /**
   * Writes the files and starts the program; resolves with its pid once it runs, 0 when there is none to start. Its output
   * goes to the ring, and as a last line how it ended.
   * @throws InvalidState while another runs; InvalidInput for what cannot be started
   */
  async start(request: WorkloadRequest): Promise<number> {
    if (this.busy) throw new InvalidState('a workload is running already', { reason: 'WORKLOAD_RUNNING' });
    this.busy = true;
    try {
      await writeWorkloadFiles(request.files);
      const [program, ...args] = request.argv;
      if (program === undefined) {
        this.busy = false;
        return 0;
      }
      return await this.run(program, args, request);
    } catch (error) {
      this.busy = false;
      throw error;
    }
  }

  /**
   * Resolves when the pipes of a workload that stands still are empty. Each turn of the event loop reads what there is: one
   * that brings nothing says so.
   */
  async drained(): Promise<void> {
    for (let seen = -1; seen !== this.chunks;) {
      seen = this.chunks;
      for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  private async run(program: string, args: readonly string[], request: WorkloadRequest): Promise<number> {
    const child = this.spawn(program, args, request);
    let endsLine = true;
    const take = (chunk: Buffer): void => {
      this.chunks += 1;
      endsLine = chunk.at(-1) === 0x0a;
      this.output.append(chunk);
    };
    child.stdout?.on('data', take);
    child.stderr?.on('data', take);
    child.once('close', (code, signal) => {
      if (child.pid === undefined) return;
      const how = signal === null ? `exited with code ${String(code)}` : `was ended by ${signal}`;
      this.output.append(Buffer.from(`${endsLine ? '' : '\n'}offshoot: workload ${how}\n`));
      this.busy = false;
    });
    try {
      await once(child, 'spawn');
    } catch (error) {
      throw cannotStart(program, error);
    }
    return child.pid ?? 0;
  }

  private spawn(program: string, args: readonly string[], request: WorkloadRequest): ChildProcess {
    try {
      return this.group.spawnInside(() =>
        spawn(program, args, {
          cwd: request.workingDirectory === '' ? '/' : request.workingDirectory,
          env: { ...DEFAULT_ENV, ...request.env },
          stdio: ['ignore', 'pipe', 'pipe'],
          detached: true, // a session of its own: what ends it does not end the agent
        }),
      );
    } catch (error) {
      if (error instanceof InvalidState) throw error;
      throw cannotStart(program, error);
    }
  }
}

const cannotStart = (program: string, cause: unknown): InvalidInput =>
  new InvalidInput(`cannot start ${program}: ${messageOf(cause)}`, { reason: 'WORKLOAD_START', cause });
