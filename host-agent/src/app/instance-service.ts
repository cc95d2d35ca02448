import { InvalidInput } from '@offshoot/shared/errors.js';
import { parseInstanceId } from '../domain/ids.js';
import type { InstanceId } from '../domain/ids.js';
import { LIVE_STATES } from '../domain/instance-state.js';
import type { Instance } from '../domain/instance.js';
import { asCapacityIfFull } from '../os/disk-space.js';
import type { RequestIdentity } from '../ports/answers.js';
import type { VmExit } from '../ports/driver.js';
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
import type { IdempotentCalls } from './idempotent-calls.js';
import { InstanceLocks } from './instance-locks.js';
import { changed, save } from './instance-record.js';
import { MailboxIndexes } from './mailbox-indexes.js';
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

  constructor(
    dependencies: Dependencies,
    private readonly calls: IdempotentCalls,
  ) {
    const { guestLinks, logger } = dependencies;
    this.context = {
      ...dependencies,
      running: new RunningInstances(guestLinks, logger, (id, exit) => this.recordExit(id, exit)),
      locks: new InstanceLocks(),
      mailboxIndexes: new MailboxIndexes(dependencies.paths, logger),
      request: undefined,
    };
  }

  /** To be called once, before the first operation. */
  recover(): Promise<void> {
    return recover(this.context);
  }

  create(
    command: CreateInstanceCommand,
    signal: AbortSignal,
    request?: RequestIdentity,
  ): Promise<{ instance: Instance; bootMs: number }> {
    return this.operate(request, signal, (context, s) => createInstance(context, command, s));
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

  standby(
    command: StandbyInstanceCommand,
    signal: AbortSignal,
    request?: RequestIdentity,
  ): Promise<{ instance: Instance; captureMs: number }> {
    return this.operate(request, signal, (context, s) => standbyInstance(context, command, s));
  }

  restore(
    reference: string,
    signal: AbortSignal,
    request?: RequestIdentity,
  ): Promise<{ instance: Instance; restoreMs: number }> {
    return this.operate(request, signal, (context, s) => restoreInstance(context, reference, s));
  }

  start(
    reference: string,
    signal: AbortSignal,
    request?: RequestIdentity,
  ): Promise<{ instance: Instance; bootMs: number }> {
    return this.operate(request, signal, (context, s) => startInstance(context, reference, s));
  }

  pause(reference: string, signal: AbortSignal, request?: RequestIdentity): Promise<Instance> {
    return this.operate(request, signal, (context, s) => pauseInstance(context, reference, s));
  }

  resume(reference: string, signal: AbortSignal, request?: RequestIdentity): Promise<Instance> {
    return this.operate(request, signal, (context, s) => resumeInstance(context, reference, s));
  }

  fork(command: ForkInstanceCommand, signal: AbortSignal, request?: RequestIdentity): Promise<ForkResult> {
    return this.operate(request, signal, (context, s) => forkInstance(context, command, s));
  }

  async *forkMany(
    command: ForkInstancesCommand,
    signal: AbortSignal,
    request?: RequestIdentity,
  ): AsyncGenerator<ForkOutcome, void, undefined> {
    let end: () => void = () => undefined;
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    this.underWay.add(ended);
    try {
      const ending = AbortSignal.any([signal, this.closing.signal]);
      const outcomes = this.calls.each(
        request,
        (key, wanted) => forkInstances({ ...this.context, request: key }, command, wanted, ending),
        command.count,
        ending,
      );
      for await (const outcome of outcomes)
        yield outcome.error === undefined ? outcome : { ...outcome, error: asCapacityIfFull(outcome.error) };
    } catch (error) {
      throw asCapacityIfFull(error);
    } finally {
      this.underWay.delete(ended);
      end();
    }
  }

  stop(reference: string, graceMs: number, signal: AbortSignal, request?: RequestIdentity): Promise<Instance> {
    return this.operate(request, signal, (context, s) => stopInstance(context, reference, graceMs, s));
  }

  delete(reference: string, force: boolean, signal: AbortSignal, request?: RequestIdentity): Promise<void> {
    return this.operate(request, signal, (context, s) => deleteInstance(context, reference, force, s));
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

  private async operate<Result>(
    request: RequestIdentity | undefined,
    signal: AbortSignal,
    run: (context: Context, signal: AbortSignal) => Promise<Result>,
  ): Promise<Result> {
    const ending = AbortSignal.any([signal, this.closing.signal]);
    const operation = this.calls.once(request, (key) => run({ ...this.context, request: key }, ending), ending);
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
