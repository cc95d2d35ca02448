import { InvalidInput } from '@offshoot/shared/errors.js';
import { parseInstanceId } from '../domain/ids.js';
import type { InstanceId } from '../domain/ids.js';
import { LIVE_STATES } from '../domain/instance-state.js';
import type { Instance } from '../domain/instance.js';
import { asCapacityIfFull } from '../os/disk-space.js';
import type { VmExit } from '../ports/driver.js';
import type { StorageUse } from '../ports/instance-files.js';
import type {
  CreateInstanceCommand,
  ForkInstanceCommand,
  ForkInstancesCommand,
  ForkOutcome,
  ForkResult,
  InstanceOperations,
  ListInstancesCommand,
  LogSource,
  MailboxView,
  StandbyInstanceCommand,
} from './commands.js';
import type { Context } from './context.js';
import { createInstance } from './create-instance.js';
import { deleteInstance } from './delete-instance.js';
import type { Dependencies } from './dependencies.js';
import { exitReason } from './failure.js';
import { followFile } from './follow-file.js';
import { forkInstance } from './fork-instance.js';
import { forkInstances } from './fork-instances.js';
import { InstanceLocks } from './instance-locks.js';
import { changed, save } from './instance-record.js';
import { MailboxIndexes } from './mailbox-indexes.js';
import { MemoryBudget } from './memory-budget.js';
import { pauseInstance, resumeInstance } from './pause-instance.js';
import { recover } from './recover.js';
import { restoreInstance } from './restore-instance.js';
import { RunningInstances } from './running-instances.js';
import { standbyInstance } from './standby-instance.js';
import { startInstance } from './start-instance.js';
import { stopInstance } from './stop-instance.js';

/** Everything that can be asked of instances; each operation has a file of its own. */
export class InstanceService implements InstanceOperations {
  private readonly context: Context;
  private readonly underWay = new Set<Promise<unknown>>();
  private readonly closing = new AbortController();

  constructor(dependencies: Dependencies) {
    const { guestLinks, logger } = dependencies;
    this.context = {
      ...dependencies,
      running: new RunningInstances(guestLinks, logger, (id, exit) => this.recordExit(id, exit)),
      locks: new InstanceLocks(),
      mailboxIndexes: new MailboxIndexes(dependencies.paths, logger),
      memory: new MemoryBudget(dependencies.limits.memoryReserveBytes),
    };
  }

  /** To be called once, before the first operation. */
  recover(): Promise<void> {
    return recover(this.context);
  }

  create(command: CreateInstanceCommand, signal: AbortSignal): Promise<{ instance: Instance; bootMs: number }> {
    return this.operate(signal, (s) => createInstance(this.context, command, s));
  }

  get(reference: string): Instance {
    return this.context.store.resolve(reference);
  }

  async mailboxesOf(
    reference: string,
    signal: AbortSignal,
  ): Promise<{ instance: Instance; mailboxes: readonly MailboxView[] }> {
    const instance = this.get(reference);
    const running = this.context.running.get(instance.id);
    return { instance, mailboxes: await this.context.mailboxIndexes.view(instance, running?.link.mailboxes(), signal) };
  }

  async storageOf(reference: string): Promise<StorageUse> {
    return this.context.files.use(this.get(reference).id);
  }

  list({ pageSize, pageToken, states, labels }: ListInstancesCommand): {
    instances: readonly Instance[];
    nextPageToken: string;
  } {
    const instances = this.context.store.list({
      states,
      labels,
      limit: pageSize,
      ...(pageToken === '' ? {} : { after: parsePageToken(pageToken) }),
    });
    return { instances, nextPageToken: instances.length === pageSize ? (instances.at(-1)?.id ?? '') : '' };
  }

  standby(command: StandbyInstanceCommand, signal: AbortSignal): Promise<{ instance: Instance; captureMs: number }> {
    return this.operate(signal, (s) => standbyInstance(this.context, command, s));
  }

  restore(reference: string, signal: AbortSignal): Promise<{ instance: Instance; restoreMs: number }> {
    return this.operate(signal, (s) => restoreInstance(this.context, reference, s));
  }

  start(reference: string, signal: AbortSignal): Promise<{ instance: Instance; bootMs: number }> {
    return this.operate(signal, (s) => startInstance(this.context, reference, s));
  }

  pause(reference: string, signal: AbortSignal): Promise<Instance> {
    return this.operate(signal, (s) => pauseInstance(this.context, reference, s));
  }

  resume(reference: string, signal: AbortSignal): Promise<Instance> {
    return this.operate(signal, (s) => resumeInstance(this.context, reference, s));
  }

  fork(command: ForkInstanceCommand, signal: AbortSignal): Promise<ForkResult> {
    return this.operate(signal, (s) => forkInstance(this.context, command, s));
  }

  async *forkMany(command: ForkInstancesCommand, signal: AbortSignal): AsyncGenerator<ForkOutcome, void, undefined> {
    let end: () => void = () => undefined;
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    this.underWay.add(ended);
    try {
      for await (const outcome of forkInstances(this.context, command, AbortSignal.any([signal, this.closing.signal])))
        yield outcome.error === undefined ? outcome : { ...outcome, error: asCapacityIfFull(outcome.error) };
    } catch (error) {
      throw asCapacityIfFull(error);
    } finally {
      this.underWay.delete(ended);
      end();
    }
  }

  stop(reference: string, graceMs: number, signal: AbortSignal): Promise<Instance> {
    return this.operate(signal, (s) => stopInstance(this.context, reference, graceMs, s));
  }

  delete(reference: string, force: boolean, signal: AbortSignal): Promise<void> {
    return this.operate(signal, (s) => deleteInstance(this.context, reference, force, s));
  }

  logs(reference: string, source: LogSource, follow: boolean, signal: AbortSignal): AsyncIterable<Buffer> {
    const paths = this.context.paths.instance(this.get(reference).id);
    const path = { workload: paths.workloadLog, console: paths.consoleLog, vmm: paths.vmmLog }[source];
    return followFile(path, follow, AbortSignal.any([signal, this.closing.signal]));
  }

  directoryOf(instance: Instance): string {
    return this.context.paths.instance(instance.id).root;
  }

  /** Cancels what is under way, waits for its undoing, and lets go of the VMs, which run on. */
  async close(): Promise<void> {
    this.closing.abort(new Error('the daemon is stopping'));
    await Promise.allSettled(this.underWay);
    await this.context.running.detachAll();
  }

  private async operate<Result>(signal: AbortSignal, run: (signal: AbortSignal) => Promise<Result>): Promise<Result> {
    const operation = run(AbortSignal.any([signal, this.closing.signal]));
    this.underWay.add(operation);
    try {
      return await operation;
    } catch (error) {
      throw asCapacityIfFull(error);
    } finally {
      this.underWay.delete(operation);
    }
  }

  /** A VMM went by itself: powered off by its guest, or dead. */
  private async recordExit(id: InstanceId, exit: VmExit): Promise<void> {
    const instance = this.context.store.byId(id);
    if (instance === undefined || !LIVE_STATES.includes(instance.state)) return;
    const poweredOff = exit.code === 0;
    const stateReason = poweredOff ? '' : await exitReason(exit, this.context.paths.instance(id));
    this.context.logger.warn(
      { instance: id, name: instance.name, exit },
      poweredOff ? 'guest powered off' : 'hypervisor died',
    );
    await save(this.context, changed(instance, poweredOff ? 'STOPPED' : 'FAILED', { vmm: undefined, stateReason }), {
      durable: true,
    });
  }
}

function parsePageToken(token: string): InstanceId {
  try {
    return parseInstanceId(token);
  } catch (error) {
    throw new InvalidInput('page_token: must be the next_page_token of an earlier answer', {
      reason: 'PAGE_TOKEN_MALFORMED',
      violations: [{ field: 'page_token', description: 'must be the next_page_token of an earlier answer' }],
      cause: error,
    });
  }
}
