import type {
  ForkInstancesRequest,
  ForkInstancesResponse,
  InstanceServiceServer,
  StreamLogsRequest,
  StreamLogsResponse,
} from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import type { ForkResult, InstanceOperations } from '../app/commands.js';
import type { Instance } from '../domain/instance.js';
import type { RequestIdentity } from '../ports/answers.js';
import type { CallRunner } from './call-runner.js';
import { errorStatus } from './error-status.js';
import { toForkMessage, toForkOutcomeMessage } from './fork-message.js';
import { parseFork, parseForks } from './fork-requests.js';
import { toInstanceMessage, toMailboxMessage, toStorageMessage } from './instance-message.js';
import {
  parseCreate,
  parseCredential,
  parseInstance,
  parseList,
  parseLogs,
  parseStandby,
  parseStop,
} from './instance-requests.js';
import { toDuration } from './proto-duration.js';

/** Largest piece of a log in one message; a client's default limit is 4 MiB. */
const LOG_CHUNK_BYTES = 256 * 1024;

/** offshoot.v1.InstanceService: parse, call, convert. */
export function instanceService(instances: InstanceOperations, run: CallRunner): InstanceServiceServer {
  const message = (instance: Instance) => toInstanceMessage(instance, instances.directoryOf(instance));

  const forkMessage = (result: ForkResult) => toForkMessage(result, instances.directoryOf(result.instance));

  async function* forkInstances(
    request: ForkInstancesRequest,
    signal: AbortSignal,
    identity: RequestIdentity | undefined,
  ): AsyncGenerator<ForkInstancesResponse> {
    for await (const outcome of instances.forkMany(parseForks(request), signal, identity))
      yield toForkOutcomeMessage(outcome, forkMessage, (error) => errorStatus(error, signal));
  }

  async function* streamLogs(request: StreamLogsRequest, signal: AbortSignal): AsyncGenerator<StreamLogsResponse> {
    const { instance, source, follow } = parseLogs(request);
    for await (const data of instances.logs(instance, source, follow, signal))
      for (let offset = 0; offset < data.length; offset += LOG_CHUNK_BYTES)
        yield { data: data.subarray(offset, offset + LOG_CHUNK_BYTES) };
  }

  return {
    createInstance: run.unary('changes', async (request, signal, identity) => {
      const { instance, bootMs } = await instances.create(parseCreate(request), signal, identity);
      return { instance: message(instance), bootTime: toDuration(bootMs) };
    }),
    getInstance: run.unary('reads', async (request, signal) => {
      const reference = parseInstance(request);
      const { instance, mailboxes } = request.includeMailboxes
        ? await instances.mailboxesOf(reference, signal)
        : { instance: instances.get(reference), mailboxes: [] };
      const storage = request.includeStorage ? await instances.storageOf(instance.id) : undefined;
      return {
        instance: message(instance),
        mailboxes: mailboxes.map(toMailboxMessage),
        storage: storage && toStorageMessage(storage),
      };
    }),
    listInstances: run.unary('reads', (request) => {
      const page = instances.list(parseList(request));
      return { instances: page.instances.map(message), nextPageToken: page.nextPageToken };
    }),
    standbyInstance: run.unary('changes', async (request, signal, identity) => {
      const { instance, captureMs } = await instances.standby(parseStandby(request), signal, identity);
      return { instance: message(instance), captureTime: toDuration(captureMs) };
    }),
    restoreInstance: run.unary('changes', async (request, signal, identity) => {
      const { instance, restoreMs } = await instances.restore(parseInstance(request), signal, identity);
      return { instance: message(instance), restoreTime: toDuration(restoreMs) };
    }),
    startInstance: run.unary('changes', async (request, signal, identity) => {
      const { instance, bootMs } = await instances.start(parseInstance(request), signal, identity);
      return { instance: message(instance), bootTime: toDuration(bootMs) };
    }),
    pauseInstance: run.unary('changes', async (request, signal, identity) => ({
      instance: message(await instances.pause(parseInstance(request), signal, identity)),
    })),
    resumeInstance: run.unary('changes', async (request, signal, identity) => ({
      instance: message(await instances.resume(parseInstance(request), signal, identity)),
    })),
    forkInstance: run.unary('changes', async (request, signal, identity) =>
      forkMessage(await instances.fork(parseFork(request), signal, identity)),
    ),
    forkInstances: run.stream('changes', forkInstances),
    stopInstance: run.unary('changes', async (request, signal, identity) => {
      const { instance, graceMs } = parseStop(request);
      return { instance: message(await instances.stop(instance, graceMs, signal, identity)) };
    }),
    deleteInstance: run.unary('changes', async (request, signal, identity) => {
      await instances.delete(parseInstance(request), request.force, signal, identity);
      return {};
    }),
    reviewCredential: run.unary('reads', (request) => ({
      instance: message(instances.ownerOf(parseCredential(request))),
    })),
    streamLogs: run.stream('reads', streamLogs),
  };
}
