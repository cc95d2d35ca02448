import { AlreadyExists, NotFound } from '@offshoot/shared/errors.js';
import type {
  CreateInstanceCommand,
  ForkInstanceCommand,
  ForkInstancesCommand,
  ForkOutcome,
  ForkResult,
  HostOperations,
  HostView,
  ImageOperations,
  InstanceOperations,
  ListInstancesCommand,
  LogSource,
  MailboxView,
  StandbyInstanceCommand,
} from '../../app/commands.js';
import { DRIVER_CAPABILITIES } from '../../domain/driver-capabilities.js';
import { mintInstanceId, parseImageId } from '../../domain/ids.js';
import { assertAllowed } from '../../domain/instance-state.js';
import type { Instance } from '../../domain/instance.js';
import type { Image } from '../../ports/image-store.js';
import type { CheckResult } from '../../app/doctor/check.js';
import type { StorageUse } from '../../ports/instance-files.js';

const IMAGE: Image = {
  id: parseImageId('ab'.repeat(32)),
  name: 'default',
  kernelRelease: '6.1.0-0-cloud-amd64',
  rootDisk: '/images/rootfs.ext4',
  vmlinuz: '/images/vmlinuz',
  vmlinux: '/images/vmlinux',
  initrd: '/images/initrd',
  kernelParameters: '',
  diskBytes: 536_870_912,
  diskAllocatedBytes: 104_857_600,
  createdAt: '2025-01-02T03:04:05.000Z',
};

/**
 * What stands behind the API in tests: instances without VMs, held to the same states, names and mailboxes as real ones,
 * and everything that was asked for, in order. Any operation can be replaced by assigning to it.
 */
export class FakeHost implements InstanceOperations {
  readonly asked: { call: string; command: unknown }[] = [];
  readonly #instances = new Map<string, Instance>();
  readonly #mailboxes: MailboxView[] = [
    {
      name: 'task',
      tokenFingerprint: '0123456789abcdef',
      state: 'armed',
      capacityBytes: 3840,
      generation: 0,
      registered: true,
      segments: 1,
      segmentsFound: 1,
      armedBy: 'agent',
    },
  ];

  /** Of which instance each credential is, by name. */
  readonly credentials = new Map<string, string>();

  ownerOf = (credential: string): Instance => {
    const name = this.credentials.get(credential);
    if (name !== undefined) return this.get(name);
    throw new NotFound('no instance has this credential now', { reason: 'CREDENTIAL_UNKNOWN' });
  };

  create = (command: CreateInstanceCommand): Promise<{ instance: Instance; bootMs: number }> => {
    this.asked.push({ call: 'create', command });
    const instance = this.#add({
      name: command.name,
      labels: command.labels,
      memoryBytes: command.memoryBytes,
      ...(command.diskBytes === undefined ? {} : { diskBytes: command.diskBytes }),
    });
    return Promise.resolve({ instance, bootMs: 4321.5 });
  };

  get = (reference: string): Instance => {
    const found = [...this.#instances.values()].find(({ id, name }) => id === reference || name === reference);
    if (found !== undefined) return found;
    throw new NotFound(`there is no instance ${reference}`, {
      reason: 'INSTANCE_NOT_FOUND',
      metadata: { instance: reference },
    });
  };

  mailboxesOf = (reference: string): Promise<{ instance: Instance; mailboxes: readonly MailboxView[] }> =>
    Promise.resolve().then(() => ({ instance: this.get(reference), mailboxes: this.#mailboxes }));

  storageOf = (reference: string): Promise<StorageUse> =>
    Promise.resolve().then(() => {
      this.get(reference);
      return { ownBytes: 12 * 2 ** 20, sharedBytes: 130 * 2 ** 20 };
    });

  list = (command: ListInstancesCommand): { instances: readonly Instance[]; nextPageToken: string } => {
    this.asked.push({ call: 'list', command });
    const labels = Object.entries(command.labels);
    const matching = [...this.#instances.values()].filter(
      ({ id, state, labels: own }) =>
        (command.states.length === 0 || command.states.includes(state)) &&
        labels.every(([key, value]) => own[key] === value) &&
        id > command.pageToken,
    );
    const instances = matching.slice(0, command.pageSize);
    return { instances, nextPageToken: matching.length > instances.length ? (instances.at(-1)?.id ?? '') : '' };
  };

  standby = async (command: StandbyInstanceCommand): Promise<{ instance: Instance; captureMs: number }> => {
    this.asked.push({ call: 'standby', command });
    const instance = await this.#change('standby', command.instance, 'STANDBY');
    return { instance, captureMs: 7.25 };
  };

  restore = async (reference: string): Promise<{ instance: Instance; restoreMs: number }> => ({
    instance: await this.#change('restore', reference, 'RUNNING'),
    restoreMs: 55,
  });

  fork = async (command: ForkInstanceCommand): Promise<ForkResult> => {
    this.asked.push({ call: 'fork', command });
    await Promise.resolve();
    const source = this.get(command.source);
    assertAllowed('fork', source.name, source.state);
    for (const { name } of command.mailboxes)
      if (!this.#mailboxes.some((mailbox) => mailbox.name === name))
        throw new NotFound(`no mailbox ${name} is armed in ${source.name}; armed are: task`, {
          reason: 'MAILBOX_NOT_FOUND',
          metadata: { mailbox: name, armed: 'task' },
        });
    const instance = this.#add({ name: command.name, labels: command.labels, forkedFrom: source.id });
    const acks = command.mailboxes
      .filter(({ waitForAck }) => waitForAck)
      .map(({ name }) => ({ mailbox: name, stage: 'applied' as const, detail: '42', latencyMs: 12 }));
    const timings = {
      clone: 1,
      spawn: 40,
      load: 8,
      patch: 0.5,
      resume: 1.25,
      network: 200,
      ack: 12,
      total: 251,
      sourcePause: undefined,
    };
    const disk = { copiedBytes: 12_288, reflinked: false, layers: 2, ms: 0.5 };
    return { instance, acks, disk, sourceDisk: undefined, timings };
  };

  start = async (reference: string): Promise<{ instance: Instance; bootMs: number }> => ({
    instance: await this.#change('start', reference, 'RUNNING'),
    bootMs: 5000,
  });

  pause = (reference: string): Promise<Instance> => this.#change('pause', reference, 'PAUSED');

  resume = (reference: string): Promise<Instance> => this.#change('resume', reference, 'RUNNING');

  forkMany = (command: ForkInstancesCommand): AsyncIterable<ForkOutcome> => {
    this.asked.push({ call: 'forkMany', command });
    const { fork, count, mailboxesByIndex } = command;
    const make = (index: number): Promise<ForkResult> =>
      this.fork({
        ...fork,
        name: fork.name === undefined ? undefined : `${fork.name}-${String(index)}`,
        mailboxes: [...fork.mailboxes, ...(mailboxesByIndex[index] ?? [])],
      });
    return (async function* (): AsyncGenerator<ForkOutcome> {
      for (let index = 0; index < count; index++)
        yield await make(index).then(
          (result) => ({ index, result }),
          (error: unknown) => ({ index, error }),
        );
    })();
  };

  stop = (reference: string, graceMs: number): Promise<Instance> => {
    this.asked.push({ call: 'stop', command: { reference, graceMs } });
    return this.#change('stop', reference, 'STOPPED');
  };

  delete = async (reference: string, force: boolean): Promise<void> => {
    await Promise.resolve();
    const { name, state } = this.get(reference);
    assertAllowed(force ? 'forceDelete' : 'delete', name, state);
    this.#instances.delete(name);
  };

  logs = (reference: string, source: LogSource, follow: boolean, signal: AbortSignal): AsyncIterable<Buffer> => {
    const { name } = this.get(reference);
    return (async function* (): AsyncGenerator<Buffer> {
      yield Buffer.from(`${source} of ${name}\n`);
      if (follow)
        await new Promise<void>((resolve) => {
          signal.addEventListener('abort', () => {
            resolve();
          });
        });
    })();
  };

  private async *found(): AsyncGenerator<CheckResult, void, undefined> {
    for (const check of this.checks) yield await Promise.resolve(check);
  }

  directoryOf = (instance: Instance): string => `/state/instances/${instance.id}`;

  /** What Doctor finds. */
  checks: readonly CheckResult[] = [
    { name: 'kernel', outcome: 'pass', detail: 'Linux 6.1', remedy: '' },
    { name: 'kvm', outcome: 'warn', detail: 'there is no /dev/kvm', remedy: 'load the module' },
  ];

  readonly host: HostOperations = {
    examine: (options) => {
      this.asked.push({ call: 'doctor', command: options });
      return this.found();
    },
    describe: (): Promise<HostView> =>
      Promise.resolve({
        version: '9.9.9',
        hostname: 'testhost',
        drivers: [
          {
            name: 'qemu',
            available: true,
            unavailableReason: '',
            version: '7.2.0',
            accelerator: 'tcg',
            acceleratorReason: 'no /dev/kvm',
            capabilities: DRIVER_CAPABILITIES.qemu,
          },
        ],
        network: {
          mode: 'user',
          modeReason: 'no rights',
          subnet: '10.0.0.0/24',
          gateway: '10.0.0.1',
          bridge: '',
          capacity: 200,
          ackBindAddress: '127.0.0.1',
          sourceAddressIsGuest: false,
          ackPort: 4000,
        },
        vcpus: 2,
        memoryBytes: 8 * 2 ** 30,
        diskFreeBytes: 2 ** 40,
        instances: this.#instances.size,
        runningInstances: 0,
        guestMemoryBytes: 0,
      }),
  };

  readonly images: ImageOperations = {
    import: ({ source }, onStep) => {
      if (source !== 'default')
        return Promise.reject(new NotFound(`there is no image ${source}`, { reason: 'IMAGE_NOT_FOUND' }));
      onStep({ step: 'download packages', index: 1, total: 2 });
      onStep({ step: 'make the disk', index: 2, total: 2 });
      return Promise.resolve(IMAGE);
    },
    list: () =>
      Promise.resolve([
        {
          ...IMAGE,
          usage: {
            users: { instances: [...this.#instances.keys()], snapshots: [], daemons: [] },
            lastUse: '2025-01-02T03:04:05.678Z',
            allocatedBytes: 2 ** 28,
          },
        },
      ]),
    delete: (reference) => {
      if (reference === IMAGE.name) return Promise.resolve();
      return Promise.reject(new NotFound(`there is no image ${reference}`, { reason: 'IMAGE_NOT_FOUND' }));
    },
  };

  #add(
    from: Pick<Partial<Instance>, 'memoryBytes' | 'diskBytes' | 'forkedFrom' | 'labels'> & { name: string | undefined },
  ): Instance {
    const id = mintInstanceId();
    const { name = `made-up-${String(this.#instances.size)}`, ...rest } = from;
    if (this.#instances.has(name))
      throw new AlreadyExists(`the name ${name} is taken`, { reason: 'NAME_TAKEN', metadata: { name } });
    const instance: Instance = {
      id,
      name,
      state: 'RUNNING',
      stateReason: '',
      labels: {},
      imageId: IMAGE.id,
      driver: 'qemu',
      storage: 'overlay',
      vcpus: 1,
      memoryBytes: 536_870_912,
      network: { slot: 2, mac: '02:00:00:00:00:02', ipv4: '10.0.0.2', prefixLength: 24, gateway: '10.0.0.1' },
      createdAt: '2025-01-02T03:04:05.678Z',
      agent: { version: '0.1.0', bootId: 'b', kernelRelease: IMAGE.kernelRelease },
      ...rest,
    };
    this.#instances.set(name, instance);
    return instance;
  }

  async #change(
    call: 'start' | 'pause' | 'resume' | 'standby' | 'restore' | 'stop',
    reference: string,
    state: Instance['state'],
  ): Promise<Instance> {
    await Promise.resolve();
    const before = this.get(reference);
    assertAllowed(call, before.name, before.state);
    const after = { ...before, state };
    this.#instances.set(after.name, after);
    return after;
  }
}
