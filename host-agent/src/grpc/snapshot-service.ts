import type {
  ForkSnapshotsRequest,
  ForkSnapshotsResponse,
  SnapshotServiceServer,
} from '@offshoot/proto/generated/offshoot/v1/snapshot_service.js';
import type { ForkResult, InstanceOperations, SnapshotOperations } from '../app/commands.js';
import type { Snapshot } from '../domain/snapshot.js';
import type { RequestIdentity } from '../ports/answers.js';
import type { CallRunner } from './call-runner.js';
import { errorStatus } from './error-status.js';
import { toForkMessage, toForkOutcomeMessage } from './fork-message.js';
import { parseForkSnapshot, parseForkSnapshots } from './fork-requests.js';
import { toInstanceMessage, toMailboxMessage } from './instance-message.js';
import { toDuration } from './proto-duration.js';
import { toSnapshotMessage } from './snapshot-message.js';
import { parseCreateSnapshot, parseListSnapshots, parseSnapshot } from './snapshot-requests.js';

/** offshoot.v1.SnapshotService: parse, call, convert. */
export function snapshotService(
  snapshots: SnapshotOperations,
  instances: Pick<InstanceOperations, 'fork' | 'forkMany' | 'directoryOf'>,
  run: CallRunner,
): SnapshotServiceServer {
  const message = async (snapshot: Snapshot) =>
    toSnapshotMessage(snapshot, snapshots.directoryOf(snapshot), await snapshots.allocatedBytes(snapshot));

  const forkMessage = (result: ForkResult) => toForkMessage(result, instances.directoryOf(result.instance));

  async function* forkSnapshots(
    request: ForkSnapshotsRequest,
    signal: AbortSignal,
    identity: RequestIdentity | undefined,
  ): AsyncGenerator<ForkSnapshotsResponse> {
    for await (const outcome of instances.forkMany(parseForkSnapshots(request), signal, identity))
      yield { fork: toForkOutcomeMessage(outcome, forkMessage, (error) => errorStatus(error, signal)) };
  }

  return {
    createSnapshot: run.unary('changes', async (request, signal, identity) => {
      const { snapshot, sourcePauseMs } = await snapshots.create(parseCreateSnapshot(request), signal, identity);
      return {
        snapshot: await message(snapshot),
        sourcePause: sourcePauseMs === undefined ? undefined : toDuration(sourcePauseMs),
      };
    }),
    getSnapshot: run.unary('reads', async (request) => ({
      snapshot: await message(snapshots.get(parseSnapshot(request))),
    })),
    listMailboxes: run.unary('reads', async (request, signal) => {
      const options = { tokens: request.includeTokens };
      const mailboxes = await snapshots.mailboxesOf(parseSnapshot(request), options, signal);
      return { mailboxes: mailboxes.map(toMailboxMessage) };
    }),
    listSnapshots: run.unary('reads', async (request) => {
      const page = snapshots.list(parseListSnapshots(request));
      return { snapshots: await Promise.all(page.snapshots.map(message)), nextPageToken: page.nextPageToken };
    }),
    deleteSnapshot: run.unary('changes', async (request, signal, identity) => {
      await snapshots.delete(parseSnapshot(request), signal, identity);
      return {};
    }),
    restoreSnapshot: run.unary('changes', async (request, signal, identity) => {
      const { instance, restoreMs } = await snapshots.restore(parseSnapshot(request), signal, identity);
      return {
        instance: toInstanceMessage(instance, instances.directoryOf(instance)),
        restoreTime: toDuration(restoreMs),
      };
    }),
    forkSnapshot: run.unary('changes', async (request, signal, identity) => ({
      fork: forkMessage(await instances.fork(parseForkSnapshot(request), signal, identity)),
    })),
    forkSnapshots: run.stream('changes', forkSnapshots),
    verifySnapshot: run.unary('reads', async (request, signal) => ({
      snapshot: await message(await snapshots.verify(parseSnapshot(request), signal)),
    })),
  };
}
