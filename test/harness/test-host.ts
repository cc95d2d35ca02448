import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DaemonClient } from '@offshoot/host-agent/cli/daemon-client.js';
import type { SettingKey } from '@offshoot/host-agent/config/settings.js';
import { DaemonProcess } from '@offshoot/host-agent/demo/daemon-process.js';
import {
  CreateInstanceRequest,
  DeleteInstanceRequest,
  ForkInstanceRequest,
  ForkInstancesRequest,
  GetInstanceRequest,
  ListInstancesRequest,
  LogSource,
  RestoreInstanceRequest,
  StandbyInstanceRequest,
  StopInstanceRequest,
  StreamLogsRequest,
  type CreateInstanceResponse,
  type ForkInstanceResponse,
  type ForkInstancesResponse,
  type GetInstanceResponse,
} from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { InstanceState, type Instance } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import { IMAGES } from './cache.js';
import { DaemonUser, type DaemonUserOptions } from './daemon-user.js';
import { patientFork, patientForks } from './patient-fork.js';
import { TestMachine, isRoot, type MachineTraces, type StateType } from './test-machine.js';

const guestPrograms = fileURLToPath(new URL('../guest/', import.meta.url));

type Partially<T> = { [Field in keyof T]?: T[Field] };

/** What there is of instances, on the machine and in the daemon's books. */
export interface Traces extends MachineTraces {
  readonly rows: readonly string[];
}

export interface TestHostOptions {
  readonly settings?: Partial<Record<SettingKey, string>>;
  /** Mounts a file system of this many bytes as the state directory, seen by the daemon alone. Needs root. */
  readonly stateBytes?: number;
  /** Of which kind; tmpfs when left out. */
  readonly stateType?: StateType;
  readonly environment?: Readonly<Record<string, string>>;
  /** Another script than that of the daemon, which is it all the same. */
  readonly program?: string;
  /** Has the daemon run as another user than root, with the helper that root has for it. Needs root. */
  readonly user?: DaemonUserOptions;
}

/**
 * A daemon with a state directory and, as root, a network namespace of its own. Disposing of it removes its instances,
 * ends it, and fails when anything of it is left.
 */
export class TestHost implements AsyncDisposable {
  private daemonProcess: DaemonProcess | undefined;
  private clientOf: DaemonClient | undefined;

  private constructor(
    /** What of the machine is this host's. */
    readonly machine: TestMachine,
    private readonly options: TestHostOptions,
    private readonly otherUser: DaemonUser | undefined,
  ) {}

  static async start(options: TestHostOptions = {}): Promise<TestHost> {
    const machine = TestMachine.create();
    let user: DaemonUser | undefined;
    try {
      if (options.user !== undefined) user = await DaemonUser.open(machine.root, machine.stateDirectory, options.user);
      await user?.bringImages();
      const host = new TestHost(machine, options, user);
      await host.startDaemon();
      return host;
    } catch (error) {
      await user?.[Symbol.asyncDispose]();
      machine.remove();
      throw error;
    }
  }

  get root(): string {
    return this.machine.root;
  }

  get socket(): string {
    return join(this.root, 'api.sock');
  }

  get user(): DaemonUser {
    if (this.otherUser === undefined) throw new Error('the daemon is root');
    return this.otherUser;
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

  /** @param settings for this daemon alone, over those of the host */
  async startDaemon(settings: Partial<Record<SettingKey, string>> = {}): Promise<void> {
    this.daemonProcess = await this.spawnDaemon(settings);
    if (this.options.stateBytes !== undefined) this.machine.seeThrough(this.daemonProcess.pid);
    this.clientOf = new DaemonClient(this.daemonProcess.address, new AbortController().signal);
  }

  /** One more daemon on the same directory; `startDaemon` has been there before. */
  spawnDaemon(settings: Partial<Record<SettingKey, string>> = {}): Promise<DaemonProcess> {
    return DaemonProcess.start({
      settings: {
        state_dir: this.machine.stateDirectory,
        images_dir: IMAGES,
        listen: `unix://${this.socket}`,
        ...(isRoot ? {} : { 'network.mode': 'user' }),
        ...this.otherUser?.settings,
        ...this.options.settings,
        ...settings,
      },
      through: [
        ...this.machine.through(this.options.stateBytes, this.options.stateType),
        ...(this.otherUser?.through ?? []),
      ],
      environment: this.options.environment ?? {},
      ...(this.options.program === undefined ? {} : { program: this.options.program }),
    });
  }

  async stopDaemon(signal?: NodeJS.Signals): Promise<void> {
    this.clientOf?.[Symbol.dispose]();
    this.clientOf = undefined;
    await this.daemonProcess?.stop(signal);
    this.daemonProcess = undefined;
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

  /** As patient as can be where the request does not say how long to wait. */
  fork(
    request: Parameters<typeof ForkInstanceRequest.fromPartial>[0],
    deadlineMs?: number,
  ): Promise<ForkInstanceResponse> {
    return this.client.unary(
      this.instances.forkInstance.bind(this.instances),
      patientFork(ForkInstanceRequest.fromPartial(request)),
      deadlineMs,
    );
  }

  /** All outcomes of one call, as patient as `fork`. */
  async forkMany(request: Parameters<typeof ForkInstancesRequest.fromPartial>[0]): Promise<ForkInstancesResponse[]> {
    const stream = this.client.stream(
      this.instances.forkInstances.bind(this.instances),
      patientForks(ForkInstancesRequest.fromPartial(request)),
    );
    const outcomes: ForkInstancesResponse[] = [];
    for await (const outcome of stream) outcomes.push(outcome);
    return outcomes;
  }

  async startInstance(instance: string): Promise<Instance> {
    const { instances } = this;
    return (await this.client.unary(instances.startInstance.bind(instances), { instance, requestId: '' })).instance!;
  }

  async pause(instance: string): Promise<Instance> {
    const { instances } = this;
    return (await this.client.unary(instances.pauseInstance.bind(instances), { instance, requestId: '' })).instance!;
  }

  async resume(instance: string): Promise<Instance> {
    const { instances } = this;
    return (await this.client.unary(instances.resumeInstance.bind(instances), { instance, requestId: '' })).instance!;
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

  /** Everything an instance's kernel and agent wrote on their console. */
  async consoleText(instance: string): Promise<string> {
    const request = StreamLogsRequest.fromPartial({ instance, source: LogSource.LOG_SOURCE_CONSOLE });
    const pieces: Buffer[] = [];
    for await (const { data } of this.client.stream(this.instances.streamLogs.bind(this.instances), request))
      pieces.push(Buffer.from(data));
    return Buffer.concat(pieces).toString();
  }

  /** The first line that `wanted` accepts. */
  async logLine(instance: string, wanted: (line: string) => boolean): Promise<string> {
    for await (const line of this.logLines(instance)) if (wanted(line)) return line;
    throw new Error(`the log of ${instance} ended without the line`);
  }

  /** Resolves once a call that is still under way has made its instance. */
  async untilListed(name: string): Promise<void> {
    while (!(await this.list()).some((instance) => instance.name === name));
  }

  /** Resolves once so many VMMs run, whoever owns them. */
  async untilProcesses(count: number): Promise<void> {
    while (this.machine.traces().processes < count) await this.list();
  }

  /** The instance, once it is in this state. */
  async untilState(name: string, state: InstanceState): Promise<Instance> {
    for (;;) {
      const { instance } = await this.get(name);
      if (instance!.state === state) return instance!;
    }
  }

  /** Resolves once no instance is being made or unmade. */
  async settled(): Promise<void> {
    const creating = InstanceState.INSTANCE_STATE_CREATING;
    while ((await this.list()).some(({ state }) => state === creating));
  }

  /** Everything on the machine that belongs to an instance of this host: what a failed call must not add to. */
  async traces(): Promise<Traces> {
    return { rows: (await this.list()).map(({ name }) => name).sort(), ...this.machine.traces() };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    let left: string[] = [];
    try {
      if (this.daemonProcess === undefined) await this.startDaemon();
      for (const { id } of await this.list()) await this.delete(id);
      const traces = this.machine.traces();
      await this.stopDaemon();
      left = Object.entries({ ...traces, ...this.machine.networkLeft() })
        .filter(([, count]) => count > 0)
        .map(([what, count]) => `${String(count)} ${what}`);
    } finally {
      await this.stopDaemon('SIGKILL');
      await this.otherUser?.[Symbol.asyncDispose]();
      this.machine.remove();
    }
    if (left.length > 0) throw new Error(`left behind: ${left.join(', ')}`);
  }
}
