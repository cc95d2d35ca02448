import { NotFound } from '@offshoot/shared/errors.js';
import { parseInstanceId } from '../domain/ids.js';
import type { Instance } from '../domain/instance.js';
import { asCapacityIfFull } from '../os/disk-space.js';
import type { RequestIdentity } from '../ports/answers.js';
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
import { followFile } from './follow-file.js';
import { forkInstance } from './fork-instance.js';
import { forkInstances } from './fork-instances.js';
import type { IdempotentCalls } from './idempotent-calls.js';
import { operate } from './operate.js';
import { parsePageToken } from './page-token.js';
import { pauseInstance, resumeInstance } from './pause-instance.js';
import { restoreInstance } from './restore-instance.js';
import { standbyInstance } from './standby-instance.js';
import { startInstance } from './start-instance.js';
import { stopInstance } from './stop-instance.js';

/** Everything that can be asked of instances; each operation has a file of its own. */
export class InstanceService implements InstanceOperations {
  constructor(
    private readonly context: Context,
    private readonly calls: IdempotentCalls,
  ) {}

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
    return {
      instance,
      mailboxes: await this.context.mailboxIndexes.viewOfInstance(instance, running?.link.mailboxes(), signal),
    };
  }

  async storageOf(reference: string): Promise<StorageUse> {
    const { disks, files, paths } = this.context;
    const instance = this.get(reference);
    const [rest, disk] = await Promise.all([
      files.use(instance.id),
      disks.usage(instance, paths.instance(instance.id)),
    ]);
    return { ownBytes: rest.ownBytes + disk.ownBytes, sharedBytes: rest.sharedBytes + disk.sharedBytes };
  }

  list({ pageSize, pageToken, states, labels }: ListInstancesCommand): {
    instances: readonly Instance[];
    nextPageToken: string;
  } {
    const instances = this.context.store.list({
      states,
      labels,
      limit: pageSize,
      ...(pageToken === '' ? {} : { after: parsePageToken(pageToken, parseInstanceId) }),
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
    const outcomes = this.context.underWay.stream(signal, (s) =>
      this.calls.each(
        request,
        (key, wanted) => forkInstances({ ...this.context, request: key }, command, wanted, s),
        command.count,
        s,
      ),
    );
    for await (const outcome of outcomes)
      yield outcome.error === undefined ? outcome : { ...outcome, error: asCapacityIfFull(outcome.error) };
  }

  stop(reference: string, graceMs: number, signal: AbortSignal, request?: RequestIdentity): Promise<Instance> {
    return this.operate(request, signal, (context, s) => stopInstance(context, reference, graceMs, s));
  }

  delete(reference: string, force: boolean, signal: AbortSignal, request?: RequestIdentity): Promise<void> {
    return this.operate(request, signal, (context, s) => deleteInstance(context, reference, force, s));
  }

  ownerOf(credential: string): Instance {
    const id = this.context.running.withCredential(credential);
    const instance = id === undefined ? undefined : this.context.store.byId(id);
    if (instance !== undefined) return instance;
    throw new NotFound(
      'no instance has this credential now: one that a guest had before its last snapshot, fork, pause or standby is void, and it reads the next one in /run/offshoot/credential',
      { reason: 'CREDENTIAL_UNKNOWN' },
    );
  }

  logs(reference: string, source: LogSource, follow: boolean, signal: AbortSignal): AsyncIterable<Buffer> {
    const paths = this.context.paths.instance(this.get(reference).id);
    const path = { workload: paths.workloadLog, console: paths.consoleLog, vmm: paths.vmmLog }[source];
    return followFile(path, follow, this.context.underWay.signalFor(signal));
  }

  directoryOf(instance: Instance): string {
    return this.context.paths.instance(instance.id).root;
  }

  private operate<Result>(
    request: RequestIdentity | undefined,
    signal: AbortSignal,
    run: (context: Context, signal: AbortSignal) => Promise<Result>,
  ): Promise<Result> {
    return operate(this.context, this.calls, request, signal, run);
  }
}
