import type { ForkInstancesResponse } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import {
  ForkSnapshotRequest,
  ForkSnapshotResponse,
  ForkSnapshotsRequest,
  ForkSnapshotsResponse,
} from '@offshoot/proto/generated/offshoot/v1/snapshot_service.js';
import { addForkOptions, readForkOptions, type ForkOptions } from '../../fork-options.js';
import { describeFork, reportForks } from '../../fork-report.js';
import { protoJson } from '../../proto-json.js';
import type { Define } from '../define.js';

export const defineSnapshotFork: Define = (group, run) => {
  addForkOptions(
    group
      .command('fork')
      .description('make a new instance from a snapshot')
      .argument('<snapshot>', 'id, name, or beginning of an id'),
  ).action((snapshot: string, options: ForkOptions) =>
    run(async (context) => {
      const { client } = context;
      const { count, allOrNothing, requestId } = options;
      const fork = { ...(await readForkOptions(options)), snapshot };
      if (count !== undefined) {
        const outcomes = client.stream<ForkSnapshotsRequest, ForkSnapshotsResponse>(
          client.snapshots.forkSnapshots.bind(client.snapshots),
          { fork, count, mailboxesByIndex: [], allOrNothing, requestId },
        );
        await reportForks(context, forksOf(outcomes), count);
        return;
      }
      const response = await client.unary<ForkSnapshotRequest, ForkSnapshotResponse>(
        client.snapshots.forkSnapshot.bind(client.snapshots),
        fork,
      );
      await context.print({
        json: () => protoJson('ForkSnapshotResponse', ForkSnapshotResponse, response),
        text: () => (response.fork === undefined ? '' : describeFork(response.fork)),
      });
    }),
  );
};

async function* forksOf(outcomes: AsyncIterable<ForkSnapshotsResponse>): AsyncGenerator<ForkInstancesResponse> {
  for await (const { fork } of outcomes) if (fork !== undefined) yield fork;
}
