import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DaemonClient } from '@offshoot/host-agent/cli/daemon-client.js';
import type { SettingKey } from '@offshoot/host-agent/config/settings.js';
import { DaemonProcess } from '@offshoot/host-agent/demo/daemon-process.js';
import {
  CreateInstanceRequest,
  DeleteInstanceRequest,
  ForkInstanceRequest,
  GetInstanceRequest,
  ListInstancesRequest,
  RestoreInstanceRequest,
  StandbyInstanceRequest,
  StopInstanceRequest,
  StreamLogsRequest,
  type CreateInstanceResponse,
  type ForkInstanceResponse,
  type GetInstanceResponse,
} from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import type { Instance } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import { IMAGES } from './build-image.js';

const isRoot = process.geteuid?.() === 0;
const guestPrograms = fileURLToPath(new URL('../guest/', import.meta.url));

type Partially<T> = {
  [P in keyof T]?: T[P] extends readonly unknown[] | bigint | string | number | boolean | undefined ? T[P] : T[P];
};

export interface TestHostOptions {
  readonly settings?: Partial<Record<SettingKey, string>>;
  /** Mounts a file system of this many bytes as the state directory, seen by the daemon alone. Needs root. */
  readonly stateBytes?: number;
}

/**
 * A daemon with a state directory and, as root, a network namespace of its own. Disposing of it removes its instances,
 * ends it, and fails when anything of it is left.
 */
export class TestHost implements AsyncDisposable {
  private daemonProcess: DaemonProcess | undefined;
  private clientOf: DaemonClient | undefined;

  private constructor(
    readonly root: string,
    readonly namespace: string | undefined,
    private readonly options: TestHostOptions,
  ) {}

  static async start(options: TestHostOptions = {}): Promise<TestHost> {
    const root = mkdtempSync(join(tmpdir(), 'offshoot-test-'));
    const namespace = isRoot ? `ofs-${randomBytes(4).toString('hex')}` : undefined;
    if (namespace !== undefined) {
      execFileSync('ip', ['netns', 'add', namespace]);
      execFileSync('ip', ['-n', namespace, 'link', 'set', 'lo', 'up']);
    }
    const host = new TestHost(root, namespace, options);
    try {
      await host.startDaemon();
      return host;
    } catch (error) {
      host.removeTraces();
      throw error;
    }
  }

  get stateDirectory(): string {
    return join(this.root, 'state');
  }

  get socket(): string {
    return join(this.root, 'api.sock');
  }

  get daemon(): DaemonProcess {
    if (this.daemonProcess === undefined) throw new Error('the daemon is not running');
    return this.daemonProcess;
  }

  get client(): DaemonClient {
    if (this.clientOf === undefined) throw new Error('the daemon is not running');
    return this.clientOf;
  }

  get instances(): DaemonClient['instances'] {
    return this.client.instances;
  }

  async startDaemon(): Promise<void> {
    this.daemonProcess = await this.spawnDaemon();
    this.clientOf = new DaemonClient(this.daemonProcess.address, new AbortController().signal);
  }

  /** One more daemon on the same directory; `startDaemon` has been there before. */
  spawnDaemon(settings: Partial<Record<SettingKey, string>> = {}): Promise<DaemonProcess> {
    const { stateBytes } = this.options;
    const mount = `mkdir -p ${this.stateDirectory} && mount -t tmpfs -o size=${String(stateBytes ?? 0)} tmpfs ${this.stateDirectory} && exec "$@"`;
    return DaemonProcess.start({
      settings: {
        state_dir: this.stateDirectory,
        images_dir: IMAGES,
        listen: `unix://${this.socket}`,
        ...(isRoot ? {} : { 'network.mode': 'user' }),
        ...this.options.settings,
        ...settings,
      },
      through: [
        ...(this.namespace === undefined ? [] : ['ip', 'netns', 'exec', this.namespace]),
        ...(stateBytes === undefined ? [] : ['unshare', '--mount', 'sh', '-c', mount, 'small-state']),
      ],
    });
  }

  async stopDaemon(signal?: NodeJS.Signals): Promise<void> {
    this.clientOf?.[Symbol.dispose]();
    this.clientOf = undefined;
    await this.daemonProcess?.stop(signal);
    this.daemonProcess = undefined;
  }

  /** argv of a program in the daemon's network namespace. */
  inNetwork(...argv: string[]): string[] {
    return this.namespace === undefined ? argv : ['ip', 'netns', 'exec', this.namespace, ...argv];
  }

  create(request: Partially<CreateInstanceRequest>): Promise<CreateInstanceResponse> {
    return this.client.unary(
      this.instances.createInstance.bind(this.instances),
      CreateInstanceRequest.fromPartial(request),
    );
  }

  /** Boots a VM that runs one of the programs in test/guest. */
  async boot(name: string, program: string, change: Partially<CreateInstanceRequest> = {}): Promise<Instance> {
    const path = `/srv/${program}`;
    const content = readFileSync(join(guestPrograms, program));
    const { instance } = await this.create({
      name,
      workload: { argv: ['node', path], env: {}, workingDirectory: '', files: [{ path, mode: 0o644, content }] },
      ...change,
    });
    return instance!;
  }

  async standby(instance: string, ...waitMailboxes: string[]): Promise<Instance> {
    const request = StandbyInstanceRequest.fromPartial({ instance, waitMailboxes });
    return (await this.client.unary(this.instances.standbyInstance.bind(this.instances), request)).instance!;
  }

  async restore(instance: string): Promise<Instance> {
    const request = RestoreInstanceRequest.fromPartial({ instance });
    return (await this.client.unary(this.instances.restoreInstance.bind(this.instances), request)).instance!;
  }

  fork(
    request: Parameters<typeof ForkInstanceRequest.fromPartial>[0],
    deadlineMs?: number,
  ): Promise<ForkInstanceResponse> {
    return this.client.unary(
      this.instances.forkInstance.bind(this.instances),
      ForkInstanceRequest.fromPartial(request),
      deadlineMs,
    );
  }

  async stop(instance: string): Promise<Instance> {
    const request = StopInstanceRequest.fromPartial({ instance });
    return (await this.client.unary(this.instances.stopInstance.bind(this.instances), request)).instance!;
  }

  async delete(instance: string, force = true): Promise<void> {
    const request = DeleteInstanceRequest.fromPartial({ instance, force });
    await this.client.unary(this.instances.deleteInstance.bind(this.instances), request);
  }

  get(instance: string, includeMailboxes = false): Promise<GetInstanceResponse> {
    const request = GetInstanceRequest.fromPartial({ instance, includeMailboxes });
    return this.client.unary(this.instances.getInstance.bind(this.instances), request);
  }

  async list(): Promise<readonly Instance[]> {
    const request = ListInstancesRequest.fromPartial({ pageSize: 1000 });
    return (await this.client.unary(this.instances.listInstances.bind(this.instances), request)).instances;
  }

  /** Lines of an instance's workload log, as they come; ends with the loop that reads them. */
  async *logLines(instance: string): AsyncGenerator<string> {
    const request = StreamLogsRequest.fromPartial({ instance, follow: true });
    let rest = '';
    for await (const { data } of this.client.stream(this.instances.streamLogs.bind(this.instances), request)) {
      const lines = (rest + Buffer.from(data).toString()).split('\n');
      rest = lines.pop() ?? '';
      yield* lines;
    }
  }

  /** Bytes an instance's workload has logged so far. */
  async logBytes(instance: string): Promise<number> {
    const request = StreamLogsRequest.fromPartial({ instance });
    let bytes = 0;
    for await (const { data } of this.client.stream(this.instances.streamLogs.bind(this.instances), request))
      bytes += data.length;
    return bytes;
  }

  /** The first line that `wanted` accepts. */
  async logLine(instance: string, wanted: (line: string) => boolean): Promise<string> {
    for await (const line of this.logLines(instance)) if (wanted(line)) return line;
    throw new Error(`the log of ${instance} ended without the line`);
  }

  /** Everything on the machine that belongs to an instance of this host: what a failed call must not add to. */
  async traces(): Promise<Traces> {
    return {
      rows: (await this.list()).map(({ name }) => name).sort(),
      folders: this.stateFolders(),
      processes: this.processes().length,
      taps: this.taps(),
    };
  }

  /** Folders of instances, the half-made and half-removed ones among them. */
  private stateFolders(): number {
    const folder =
      this.options.stateBytes === undefined
        ? this.stateDirectory
        : `/proc/${String(this.daemon.pid)}/root${this.stateDirectory}`;
    const instances = join(folder, 'instances');
    return existsSync(instances) ? readdirSync(instances).length : 0;
  }

  /** Processes that work inside the state directory: VMMs. */
  private processes(): number[] {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .filter((pid) => {
        try {
          return readlinkSync(`/proc/${pid}/cwd`).startsWith(join(this.stateDirectory, 'instances'));
        } catch {
          return false;
        }
      })
      .map(Number);
  }

  private taps(): number {
    if (this.namespace === undefined) return 0;
    const links = JSON.parse(execFileSync('ip', ['-n', this.namespace, '-j', '-d', 'link'], { encoding: 'utf8' })) as {
      ifname: string;
      linkinfo?: { info_kind?: string };
    }[];
    // The daemon keeps one of its own in the bridge, so that the bridge has a carrier before there are guests.
    return links.filter(({ ifname, linkinfo }) => linkinfo?.info_kind === 'tun' && !ifname.startsWith('ofk-')).length;
  }

  /** Removes what this host made outside its instances; returns the VMMs that were still there. */
  private removeTraces(): number[] {
    const orphans = this.processes();
    for (const pid of orphans) process.kill(pid, 'SIGKILL');
    if (this.namespace !== undefined) execFileSync('ip', ['netns', 'del', this.namespace]);
    rmSync(this.root, { recursive: true, force: true });
    return orphans;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    let left: string[] = [];
    try {
      if (this.daemonProcess === undefined) await this.startDaemon();
      for (const { id } of await this.list()) await this.delete(id);
      const { folders, processes, taps } = await this.traces();
      await this.stopDaemon();
      left = Object.entries({ folders, processes, taps, ...this.networkLeft() })
        .filter(([, count]) => count > 0)
        .map(([what, count]) => `${String(count)} ${what}`);
    } finally {
      await this.stopDaemon('SIGKILL');
      this.removeTraces();
    }
    if (left.length > 0) throw new Error(`left behind: ${left.join(', ')}`);
  }

  /** Bridges and tables that are still there after the daemon ended without instances. */
  private networkLeft(): Record<string, number> {
    if (this.namespace === undefined) return {};
    const links = JSON.parse(
      execFileSync('ip', ['-n', this.namespace, '-j', 'link'], { encoding: 'utf8' }),
    ) as unknown[];
    const [program = '', ...rest] = this.inNetwork('nft', 'list', 'tables');
    const tables = execFileSync(program, rest, { encoding: 'utf8' }).split('\n').filter(Boolean);
    return { links: links.length - 1, tables: tables.length };
  }
}

export interface Traces {
  readonly rows: readonly string[];
  readonly folders: number;
  readonly processes: number;
  readonly taps: number;
}
