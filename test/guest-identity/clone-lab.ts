import { copyFile, mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '@offshoot/shared/errors.js';
import type { Instance as InstanceMessage } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import { NETWORK_MAILBOX, REHEARSAL_MAILBOX, type ContentType } from '@offshoot/shared/mailbox/frame-layout.js';
import { pino } from 'pino';
import { networkPayload } from '../../host-agent/src/app/handoffs/fork-identity.js';
import { CLOCK, CREDENTIAL, ENTROPY } from '../../host-agent/src/app/handoffs/identity-part-handoff.js';
import { InstanceCredentials } from '../../host-agent/src/app/instance-credentials.js';
import { mintInstanceId, parseInstanceId } from '../../host-agent/src/domain/ids.js';
import type { Instance } from '../../host-agent/src/domain/instance.js';
import { QemuDriver } from '../../host-agent/src/drivers/qemu/qemu-driver.js';
import type { QmpClient } from '../../host-agent/src/drivers/qemu/qmp-client.js';
import { GrpcGuestLinkFactory } from '../../host-agent/src/guest/grpc-guest-link.js';
import { deliver, type Delivered, type DeliveryOrder } from '../../host-agent/src/mailbox/delivery.js';
import { planDeliveries } from '../../host-agent/src/mailbox/delivery-plan.js';
import { MailboxIndex } from '../../host-agent/src/mailbox/mailbox-index.js';
import { openUdpAckListener } from '../../host-agent/src/mailbox/udp-ack-listener.js';
import { StatePaths, type InstancePaths } from '../../host-agent/src/paths.js';
import type { AckListener } from '../../host-agent/src/ports/ack-listener.js';
import type { Vm } from '../../host-agent/src/ports/driver.js';
import type { GuestLink } from '../../host-agent/src/ports/guest-link.js';
import type { TestHost } from '../harness/test-host.js';

/** What a fork gets besides its identity. */
export interface TaskDelivery {
  readonly name: string;
  readonly json: string;
}

/** An acknowledgement that came. */
export interface Answer {
  /** From the resume, in milliseconds. */
  readonly ms: number;
  /**
   * Pieces of guest code the emulator had to translate since the resume: a measure of the guest's way to its answer that does
   * not depend on what else the machine does. Undefined where there is no emulator.
   */
  readonly translated: number | undefined;
  readonly detail: string;
}

export interface ForkAnswers {
  readonly network: Answer;
  readonly task: Answer;
}

/** As long as a guest may take under emulation on a busy machine. */
const ACK_LIMIT_MS = 30_000;

/**
 * Clones of a parked instance with nothing between them and the hypervisor but the parts the daemon has: driver, index, delivery,
 * link, ack socket. So a clone can be resumed, stopped and delivered to again, as one in a pool is. Its host must be in
 * network mode `user`, and stopped or leave the instance alone meanwhile.
 */
export class CloneLab implements AsyncDisposable {
  private readonly clones: Clone[] = [];
  private slot = 0;

  private constructor(
    private readonly driver: QemuDriver,
    private readonly acks: AckListener,
    private readonly source: Instance,
    private readonly files: InstancePaths,
    private readonly scratch: StatePaths,
  ) {}

  static async open(host: TestHost, parked: InstanceMessage): Promise<CloneLab> {
    const logger = pino({ level: 'silent' });
    const files = new StatePaths(host.machine.stateDirectory).instance(parseInstanceId(parked.id));
    const source = JSON.parse(await readFile(files.record, 'utf8')) as Instance;
    const scratch = new StatePaths(join(host.machine.root, 'clones'));
    const driver = new QemuDriver({ accelerator: 'auto', logger, scratchDirectory: host.machine.stateDirectory });
    return new CloneLab(driver, await openUdpAckListener({ address: '127.0.0.1', logger }), source, files, scratch);
  }

  /** A clone, loaded and paused, its channel open. */
  async clone(): Promise<Clone> {
    const { source, files } = this;
    const slot = ++this.slot;
    const id = mintInstanceId();
    const paths = this.scratch.instance(id);
    for (const folder of [paths.run, paths.logs]) await mkdir(folder, { recursive: true });
    await copyFile(files.disk('qcow2'), paths.disk('qcow2'));
    const network = {
      ...source.network,
      mac: `52:54:00:00:01:${slot.toString(16).padStart(2, '0')}`,
      ipv4: source.network.ipv4.replace(/\d+$/, String(100 + slot)),
    };
    const instance: Instance = { ...source, id, name: `clone-${String(slot)}`, network };
    const capture = source.capture!;
    const subnet = `${source.network.gateway.replace(/\d+$/, '0')}/20`;
    const { vm } = await this.driver.restore({
      directory: paths.root,
      runDirectory: paths.run,
      logDirectory: paths.logs,
      vcpus: source.vcpus,
      memoryBytes: source.memoryBytes,
      memoryFile: files.memory,
      disk: { path: paths.disk('qcow2'), format: 'qcow2' },
      nic: { mac: network.mac, backend: { kind: 'user', subnet, gateway: network.gateway } },
      capture,
      stateFile: files.deviceState,
    });
    const link = await new GrpcGuestLinkFactory({ hostVersion: 'test', logger: pino({ level: 'silent' }) }).open(
      { dial: (signal) => vm.dialGuest(signal), workloadLogOffset: capture.workloadLogOffset, logName: instance.name },
      {
        onMailboxes: (mailboxes) => {
          clone.registrationsChanged(mailboxes);
        },
        onWorkloadOutput: (_offset, data) => {
          clone.said += data.toString();
        },
        onAck: (line) => this.acks.hear(id, line),
      },
    );
    const index = new MailboxIndex(files, capture);
    const clone = new Clone(vm, link, instance, index, this.acks, paths.consoleLog);
    this.clones.push(clone);
    return clone;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const clone of this.clones) await clone[Symbol.asyncDispose]();
    await this.acks.close();
  }
}

type Registrations = Parameters<Parameters<GrpcGuestLinkFactory['open']>[1]['onMailboxes']>[0];

export class Clone implements AsyncDisposable {
  /** What its workload said since it was captured. */
  said = '';
  private readonly watchers = new Set<() => void>();
  private registrations: Registrations = [];

  constructor(
    readonly vm: Vm,
    readonly link: GuestLink,
    readonly instance: Instance,
    private readonly index: MailboxIndex,
    private readonly acks: AckListener,
    private readonly console: string,
  ) {}

  registrationsChanged(mailboxes: Registrations): void {
    this.registrations = mailboxes;
    for (const watcher of [...this.watchers]) watcher();
  }

  /** Runs the clone through its wake once, by `offshoot.rehearsal` alone, and stops it when it is armed for the fork. */
  async rehearse(): Promise<Answer> {
    const { mailbox } = await this.planOf(REHEARSAL_MAILBOX);
    const rehearsal = { name: REHEARSAL_MAILBOX, payload: Buffer.from('{}'), contentType: 'json' } as const;
    const [answer] = await this.wake([rehearsal], [REHEARSAL_MAILBOX]);
    this.link.speak();
    const nonce = mailbox.nonce;
    await this.until(() => this.registrations.some((each) => each.name === REHEARSAL_MAILBOX && each.nonce !== nonce));
    await this.vm.pause();
    return answer!;
  }

  /**
   * Whether its kernel has moved a frame since the capture, as kernels may: the host would deliver into the page it was in then.
   * Such a clone is none to fork.
   */
  get hasMovedFrames(): boolean {
    const captured = this.instance.capture?.registeredMailboxes ?? [];
    const addresses = new Map(captured.map(({ nonce, segmentAddresses }) => [nonce, segmentAddresses.join()]));
    return this.registrations.some(
      ({ nonce, segmentAddresses }) => addresses.has(nonce) && addresses.get(nonce) !== segmentAddresses.join(),
    );
  }

  /** Becomes the fork: identity and task, as the daemon delivers them. */
  async fork({ name, json }: TaskDelivery): Promise<ForkAnswers> {
    const credential = new InstanceCredentials().of(this.instance.id).issue();
    const parts = [CLOCK, ENTROPY, CREDENTIAL].map((part) => ({
      name: part.mailbox,
      contentType: part.contentType,
      payload: part.payload({ instance: this.instance, credential }),
    }));
    const network = { name: NETWORK_MAILBOX, contentType: 'json', payload: networkPayload(this.instance) } as const;
    const task = { name, contentType: 'json', payload: Buffer.from(json) } as const;
    const [ofNetwork, ofTask] = await this.wake([network, ...parts, task], [NETWORK_MAILBOX, name]);
    return { network: ofNetwork!, task: ofTask! };
  }

  private async wake(deliveries: readonly Delivery[], awaited: readonly string[]): Promise<Answer[]> {
    const planned = planDeliveries(
      await this.index.lookup(deliveries.map(({ name }) => name)),
      deliveries.map((delivery) => ({ ...delivery, token: undefined })),
    );
    const ack = { transport: 'udp', address: this.instance.network.gateway, port: this.acks.port } as const;
    const orders: DeliveryOrder[] = planned.map((plan) => ({
      planned: plan,
      ack: awaited.includes(plan.mailbox.name) ? ack : undefined,
    }));
    let expected: readonly Delivered[];
    {
      await using memory = await this.vm.openMemory();
      expected = await deliver(memory, orders);
    }
    const pending = expected
      .filter(({ mailbox }) => awaited.includes(mailbox))
      .map((each) => ({ name: each.mailbox, heard: this.acks.expect({ ...each, instance: this.instance.id }) }));
    const before = await translatedBlocks(this.vm);
    this.link.wake();
    const start = performance.now();
    await this.vm.resume();
    const limit = AbortSignal.timeout(ACK_LIMIT_MS);
    return Promise.all(
      pending.map(async ({ name, heard }) => {
        using ackOfName = heard;
        const { stage, detail } = await ackOfName.wait(limit).catch(async (error: unknown) => {
          throw new Error(`${messageOf(error)}; ${await this.circumstances()}`, { cause: error });
        });
        const ms = performance.now() - start;
        if (stage !== 'applied') throw new Error(`${name}: ${stage} ${detail}`);
        const after = await translatedBlocks(this.vm);
        return { ms, detail, translated: after === undefined || before === undefined ? undefined : after - before };
      }),
    );
  }

  /** What there is to know of a clone that does not answer. */
  private async circumstances(): Promise<string> {
    const rejected = JSON.stringify(Object.fromEntries(this.acks.rejects));
    const state = await this.vm.state();
    return `the VM is ${state}, rejected acks: ${rejected}, its console: ${(await readFile(this.console, 'latin1')).slice(-500)}`;
  }

  private async planOf(name: string): Promise<ReturnType<typeof planDeliveries>[number]> {
    const lookup = await this.index.lookup([name]);
    return planDeliveries(lookup, [{ name, token: undefined, contentType: 'json', payload: Buffer.alloc(0) }])[0]!;
  }

  private until(condition: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const limit = AbortSignal.timeout(ACK_LIMIT_MS);
      const look = (): void => {
        if (!condition()) return;
        this.watchers.delete(look);
        resolve();
      };
      limit.addEventListener('abort', () => {
        reject(new Error('the guest did not arm itself again'));
      });
      this.watchers.add(look);
      look();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.link.close();
    await this.vm.kill();
  }
}

interface Delivery {
  readonly name: string;
  readonly contentType: ContentType;
  readonly payload: Buffer;
}

/** `TB count` of QEMU's own account, over the driver's connection: QEMU serves one client at a time. */
async function translatedBlocks(vm: Vm): Promise<number | undefined> {
  const { qmp } = (vm as unknown as { readonly parts: { readonly qmp: QmpClient } }).parts;
  const text = String(await qmp.run('human-monitor-command', { 'command-line': 'info jit' }).catch(() => ''));
  const count = /TB count\s+(\d+)/.exec(text)?.[1];
  return count === undefined ? undefined : Number(count);
}
