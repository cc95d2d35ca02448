import { HOST_ACK_PORT } from '@offshoot/shared/channel/vsock-ports.js';
import { Unreachable, messageOf } from '@offshoot/shared/errors.js';
import type { Logger } from 'pino';
import type { InstanceId } from '../domain/ids.js';
import type { Instance } from '../domain/instance.js';
import type { InstancePaths } from '../paths.js';
import type { AckListener } from '../ports/ack-listener.js';
import type { Vm, VmExit } from '../ports/driver.js';
import type { GuestEvents, GuestLink, GuestLinkFactory, GuestLinkOptions } from '../ports/guest-link.js';
import { AckSocket } from '../mailbox/ack-socket.js';
import { InstanceCredentials, type InstanceCredential } from './instance-credentials.js';
import { WorkloadLog } from './workload-log.js';

/** A VM the daemon holds: its VMM, the link to its agent, and the log the agent fills. */
export interface RunningInstance {
  readonly vm: Vm;
  readonly link: GuestLink;
  readonly log: WorkloadLog;
  /** Where its acknowledgements over vsock arrive; undefined where its hypervisor has none. */
  readonly acks: AckSocket | undefined;
  /** By which its guest's software shows whose it is. */
  readonly credential: InstanceCredential;
}

/** The VMs that run, and what happens when one goes by itself. */
export class RunningInstances {
  private readonly running = new Map<InstanceId, RunningInstance>();
  private readonly credentials = new InstanceCredentials();

  constructor(
    private readonly links: GuestLinkFactory,
    private readonly acks: Pick<AckListener, 'hear'>,
    private readonly logger: Logger,
    /** A VMM ended without being told to. */
    private readonly onExit: (id: InstanceId, exit: VmExit) => Promise<void>,
  ) {}

  get(id: InstanceId): RunningInstance | undefined {
    return this.running.get(id);
  }

  /** The instance that has this credential now, also one whose fork or boot is not answered yet. */
  withCredential(credential: string): InstanceId | undefined {
    return this.credentials.ownerOf(credential);
  }

  /** Opens the link to a VM's agent; before the VM runs, so that its channel has a reader from the start. */
  async openLink(
    vm: Vm,
    instance: Instance,
    paths: InstancePaths,
    /** Offset of the first byte of workload output that is wanted, for an instance that has no log yet; or where its workload begins, whatever its log has. */
    logStart: number | { readonly beginAt: number },
    signal: AbortSignal,
  ): Promise<RunningInstance> {
    const path = paths.workloadLog;
    const log =
      typeof logStart === 'number' ? WorkloadLog.goOn(path, logStart) : WorkloadLog.beginAt(path, logStart.beginAt);
    return this.linked(vm, instance, log, (options, events) => this.links.open(options, events, signal));
  }

  /** A link to the agent of a VM that has long been running, for when it is woken or something is asked of it. */
  attachLink(vm: Vm, instance: Instance, paths: InstancePaths): Promise<RunningInstance> {
    const log = WorkloadLog.goOn(paths.workloadLog, 0);
    return this.linked(vm, instance, log, (options, events) => this.links.attach(options, events));
  }

  private async linked(
    vm: Vm,
    { id, name }: Instance,
    log: WorkloadLog,
    link: (options: GuestLinkOptions, events: GuestEvents) => GuestLink | Promise<GuestLink>,
  ): Promise<RunningInstance> {
    let acks: AckSocket | undefined;
    try {
      const ackPath = vm.hostPort(HOST_ACK_PORT);
      acks = ackPath === undefined ? undefined : await AckSocket.listen(ackPath, (line) => this.acks.hear(id, line));
      const options = {
        dial: (signal?: AbortSignal) => vm.dialGuest(signal),
        workloadLogOffset: log.offset,
        logName: name,
      };
      const events = {
        onMailboxes: () => undefined,
        onWorkloadOutput: (offset: number, data: Buffer) => {
          log.append(offset, data);
        },
        onAck: (line: Buffer) => this.acks.hear(id, line),
      };
      return { vm, link: await link(options, events), log, acks, credential: this.credentials.of(id) };
    } catch (error) {
      acks?.close();
      log[Symbol.dispose]();
      throw error;
    }
  }

  /** From here on the VM is the instance's, and its end is reported. */
  add(id: InstanceId, running: RunningInstance): void {
    this.running.set(id, running);
    void this.watch(id, running);
  }

  /** Takes a VM out: its end is not reported any more. */
  remove(id: InstanceId): RunningInstance | undefined {
    const running = this.running.get(id);
    this.running.delete(id);
    return running;
  }

  /** Lets go of all VMs; they run on. */
  async detachAll(): Promise<void> {
    const all = [...this.running.values()];
    this.running.clear();
    await Promise.all(
      all.map(async (running) => {
        await closeLink(running);
        await running.vm.detach();
      }),
    );
  }

  private async watch(id: InstanceId, running: RunningInstance): Promise<void> {
    const exit = await running.vm.exited;
    if (this.running.get(id) !== running) return;
    this.running.delete(id);
    try {
      await closeLink(running);
      await this.onExit(id, exit);
    } catch (error) {
      this.logger.error({ instance: id, error: messageOf(error) }, 'the end of a VMM could not be recorded');
    }
  }
}

export async function closeLink({ link, log, acks, credential }: RunningInstance): Promise<void> {
  credential.revoke();
  acks?.close();
  await link.close();
  log[Symbol.dispose]();
}

/** Ends a VM and everything the daemon holds of it. */
export async function killVm(running: RunningInstance): Promise<void> {
  await closeLink(running);
  await running.vm.kill();
}

/** @throws Unreachable when the row says that a VMM runs but it is just gone */
export function runningVm(all: RunningInstances, { id, name }: Instance): RunningInstance {
  const running = all.get(id);
  if (running !== undefined) return running;
  throw new Unreachable(`the hypervisor of ${name} is gone`, { reason: 'VMM_GONE', metadata: { instance: name } });
}
