import {
  CreateSnapshotRequest,
  CreateSnapshotResponse,
} from '@offshoot/proto/generated/offshoot/v1/snapshot_service.js';
import { formatBytes, formatDuration } from '../../format-values.js';
import { REQUEST_ID_HELP, collectPairs } from '../../option-values.js';
import { protoJson } from '../../proto-json.js';
import type { Define } from '../define.js';

interface CreateOptions {
  readonly name?: string;
  readonly label?: Record<string, string>;
  readonly freeze: boolean;
  readonly waitDurable: boolean;
  readonly requestId: string;
}

export const defineSnapshotCreate: Define = (snapshot, run) => {
  snapshot
    .command('create')
    .description('keep the present moment of an instance, which goes on as it was')
    .argument('<instance>', 'id, name, or beginning of an id')
    .option('--name <name>', 'name of the snapshot; made up when left out')
    .option('--label <key=value>', 'label; may be repeated', collectPairs)
    .option('--no-freeze', "do not freeze a running instance's workload for the capture")
    .option('--no-wait-durable', 'answer before everything is on stable storage')
    .option('--request-id <id>', REQUEST_ID_HELP, '')
    .action((instance: string, { name = '', label = {}, freeze, waitDurable, requestId }: CreateOptions) =>
      run(async (context) => {
        const { snapshots } = context.client;
        const response = await context.client.unary<CreateSnapshotRequest, CreateSnapshotResponse>(
          snapshots.createSnapshot.bind(snapshots),
          { instance, name, labels: label, freezeWorkload: freeze, waitDurable, requestId },
        );
        await context.print({
          json: () => protoJson('CreateSnapshotResponse', CreateSnapshotResponse, response),
          text: () => describe(response),
        });
      }),
    );
};

function describe({ snapshot, sourcePause }: CreateSnapshotResponse): string {
  const what = `snapshot ${snapshot?.name ?? ''} of ${snapshot?.sourceName ?? ''}, ${formatBytes(snapshot?.allocatedBytes ?? 0n)}`;
  const kept = snapshot?.durable === true ? 'durable' : 'not yet durable';
  return `${what}, ${kept}${sourcePause === undefined ? '' : `; the source stood still for ${formatDuration(sourcePause)}`}`;
}
