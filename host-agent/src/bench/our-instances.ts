import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type { Duration } from '@offshoot/proto/generated/google/protobuf/duration.js';
import {
  CreateInstanceRequest,
  DeleteInstanceRequest,
  ForkInstanceRequest,
  GetInstanceRequest,
  PauseInstanceRequest,
  RestoreInstanceRequest,
  StandbyInstanceRequest,
  StreamLogsRequest,
} from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import type { DaemonClient } from '../cli/daemon-client.js';

const worker = fileURLToPath(new URL('../../demo/bench-worker.cjs', import.meta.url));
const MAILBOX = 'task';

/** Phases of a fork as the daemon times them; `network` and `ack` both start at the resume. */
export const FORK_PHASES = ['clone', 'spawn', 'load', 'patch', 'resume', 'network', 'ack', 'total'] as const;
/** What the host does, up to the moment when the guest runs. */
const HOST_PHASES = ['clone', 'spawn', 'load', 'patch', 'resume'] as const;
/** `host` is the sum of the host's phases, `call` what the caller of the API waits. */
export type ForkTime = (typeof FORK_PHASES)[number] | 'host' | 'call';

/** What the bench's worker does besides waiting at its mailbox. */
export interface Work {
  /** Memory it writes over and over. */
  readonly dirtyMib?: number;
  /** Mailboxes it arms besides and leaves alone, named `more-1` and so on, with so many bytes of room each. */
  readonly more?: number;
  readonly capacityBytes?: number;
}

/** The instances of the bench in its daemon. All times in milliseconds. */
export class OurInstances {
  constructor(private readonly client: DaemonClient) {}

  /** Boots a VM with the bench's worker. Returns the time until its agent answered. */
  async boot(
    name: string,
    memoryMib: number,
    { dirtyMib = 0, more = 0, capacityBytes = 0 }: Work = {},
  ): Promise<number> {
    const { instances } = this.client;
    const path = '/srv/worker.cjs';
    const request = CreateInstanceRequest.fromPartial({
      name,
      memoryBytes: BigInt(memoryMib) * 2n ** 20n,
      workload: {
        argv: ['node', path],
        env: { DIRTY_MIB: String(dirtyMib), MORE_MAILBOXES: String(more), CAPACITY_BYTES: String(capacityBytes) },
        files: [{ path, content: await readFile(worker) }],
      },
    });
    return milliseconds((await this.client.unary(instances.createInstance.bind(instances), request)).bootTime);
  }

  /** Parks a VM where its worker waits. Returns how long it stood still until it was complete, and the whole call. */
  async standby(instance: string): Promise<{ capture: number; call: number }> {
    const { instances } = this.client;
    const request = StandbyInstanceRequest.fromPartial({ instance, waitMailboxes: [MAILBOX] });
    const started = performance.now();
    const { captureTime } = await this.client.unary(instances.standbyInstance.bind(instances), request);
    return { capture: milliseconds(captureTime), call: performance.now() - started };
  }

  /** Resumes a parked VM. Returns the time until it runs. */
  async restore(instance: string): Promise<number> {
    const { instances } = this.client;
    const request = RestoreInstanceRequest.fromPartial({ instance });
    return milliseconds((await this.client.unary(instances.restoreInstance.bind(instances), request)).restoreTime);
  }

  /** Forks a parked VM with a payload, and checks that the guest answers with it. The fork stays. */
  async fork(source: string, name: string): Promise<Record<ForkTime, number>> {
    const { instances } = this.client;
    const json = JSON.stringify({ fork: name });
    const request = ForkInstanceRequest.fromPartial({
      source,
      name,
      mailboxes: [{ name: MAILBOX, payload: { $case: 'json', json }, ackTimeout: { seconds: 30n, nanos: 0 } }],
      networkTimeout: { seconds: 30n, nanos: 0 },
    });
    const started = performance.now();
    const { acks, timings } = await this.client.unary(instances.forkInstance.bind(instances), request);
    const call = performance.now() - started;
    if (acks[0]?.detail !== json)
      throw new Error(`${name} was given ${json} and answered ${acks[0]?.detail ?? 'nothing'}`);
    const phases = FORK_PHASES.map((phase) => [phase, milliseconds(timings?.[phase])] as const);
    const times = Object.fromEntries(phases) as Record<(typeof FORK_PHASES)[number], number>;
    return { ...times, host: HOST_PHASES.reduce((sum, phase) => sum + times[phase], 0), call };
  }

  /** Forks a parked VM with a payload that nobody answers, or with none. Returns how long the patch took. The fork stays. */
  async forkWith(
    source: string,
    name: string,
    payload: { readonly mailbox: string; readonly payload: Buffer } | undefined,
  ): Promise<number> {
    const { instances } = this.client;
    const mailboxes =
      payload === undefined
        ? []
        : [{ name: payload.mailbox, payload: { $case: 'data', data: payload.payload } as const, waitForAck: false }];
    const networkTimeout = { seconds: 30n, nanos: 0 };
    const request = ForkInstanceRequest.fromPartial({ source, name, mailboxes, networkTimeout });
    const { timings } = await this.client.unary(instances.forkInstance.bind(instances), request);
    return milliseconds(timings?.patch);
  }

  /** Stops the processors of a VM that runs. */
  async pause(instance: string): Promise<void> {
    const { instances } = this.client;
    const request = PauseInstanceRequest.fromPartial({ instance });
    await this.client.unary(instances.pauseInstance.bind(instances), request);
  }

  /** Forks a running VM and removes the fork. Returns how long the source stood still. */
  async capture(source: string, name: string): Promise<number> {
    const { instances } = this.client;
    const request = ForkInstanceRequest.fromPartial({
      source,
      name,
      fromRunning: true,
      networkTimeout: { seconds: 30n, nanos: 0 },
    });
    const { timings } = await this.client.unary(instances.forkInstance.bind(instances), request);
    await this.remove(name);
    return milliseconds(timings?.sourcePause);
  }

  /** Resolves when the worker has written its memory once more from its beginning to its end. */
  async written(instance: string): Promise<void> {
    const { instances } = this.client;
    let already = 0;
    for await (const { data } of this.client.stream(
      instances.streamLogs.bind(instances),
      StreamLogsRequest.fromPartial({ instance }),
    ))
      already += data.length;
    const request = StreamLogsRequest.fromPartial({ instance, follow: true });
    let [bytes, passes] = [0, 0];
    for await (const { data } of this.client.stream(instances.streamLogs.bind(instances), request)) {
      const fresh = Buffer.from(data).subarray(Math.max(0, already - bytes));
      bytes += data.length;
      passes += fresh.toString().split('\n').length - 1;
      // The one under way when this was called may have begun before.
      if (passes >= 2) return;
    }
  }

  /** The VMM that runs an instance now, 0 for none, and the instance's folder. */
  async get(instance: string): Promise<{ vmmPid: number; directory: string }> {
    const { instances } = this.client;
    const request = GetInstanceRequest.fromPartial({ instance });
    const { instance: found } = await this.client.unary(instances.getInstance.bind(instances), request);
    return { vmmPid: found?.vmmPid ?? 0, directory: found?.directory ?? '' };
  }

  /** Has a parked VM's memory searched for mailboxes. Returns how many segments of each were found. */
  async mailboxSegments(instance: string): Promise<number[]> {
    const { instances } = this.client;
    const request = GetInstanceRequest.fromPartial({ instance, includeMailboxes: true });
    const { mailboxes } = await this.client.unary(instances.getInstance.bind(instances), request);
    return mailboxes.map(({ segmentsFound }) => segmentsFound);
  }

  /** Removes an instance, running or not. */
  async remove(instance: string): Promise<void> {
    const { instances } = this.client;
    const request = DeleteInstanceRequest.fromPartial({ instance, force: true });
    await this.client.unary(instances.deleteInstance.bind(instances), request);
  }
}

const milliseconds = (duration: Duration | undefined): number =>
  duration === undefined ? Number.NaN : Number(duration.seconds) * 1000 + duration.nanos / 1e6;
