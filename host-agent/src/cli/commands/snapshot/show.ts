import type { Snapshot } from '@offshoot/proto/generated/offshoot/v1/snapshot.js';
import {
  GetSnapshotRequest,
  GetSnapshotResponse,
  ListMailboxesRequest,
  ListMailboxesResponse,
  ListSnapshotsRequest,
  ListSnapshotsResponse,
} from '@offshoot/proto/generated/offshoot/v1/snapshot_service.js';
import { READ_DEADLINE_MS, type CommandContext } from '../../command-context.js';
import { formatAge, formatBytes, formatMap } from '../../format-values.js';
import { describeMailboxes } from '../../mailbox-table.js';
import { collectPairs } from '../../option-values.js';
import { protoJson } from '../../proto-json.js';
import { facts, table } from '../../tables.js';
import type { Define } from '../define.js';

const PAGE_SIZE = 1000;

interface ListOptions {
  readonly instance?: string;
  readonly label?: Record<string, string>;
}

export const defineSnapshotLs: Define = (group, run) => {
  group
    .command('ls')
    .description('list snapshots, oldest first')
    .option('--instance <instance>', 'only those taken of this one')
    .option('--label <key=value>', 'only those with this label; may be repeated', collectPairs)
    .action(({ instance = '', label = {} }: ListOptions) =>
      run(async (context) => {
        const snapshots = await allSnapshots(context, instance, label);
        await context.print({
          json: () => protoJson('ListSnapshotsResponse', ListSnapshotsResponse, { snapshots, nextPageToken: '' }),
          text: () => list(snapshots),
        });
      }),
    );
};

export const defineSnapshotInspect: Define = (group, run) => {
  group
    .command('inspect')
    .description('show a snapshot')
    .argument('<snapshot>', 'id, name, or beginning of an id')
    .action((snapshot: string) =>
      run(async (context) => {
        const { snapshots } = context.client;
        const response = await context.client.unary<GetSnapshotRequest, GetSnapshotResponse>(
          snapshots.getSnapshot.bind(snapshots),
          { snapshot },
        );
        await context.print({
          json: () => protoJson('GetSnapshotResponse', GetSnapshotResponse, response),
          text: () => (response.snapshot === undefined ? '' : describe(response.snapshot)),
        });
      }),
    );
};

export const defineSnapshotMailboxes: Define = (group, run) => {
  group
    .command('mailboxes')
    .description("show the mailboxes in a snapshot's memory: what a fork of it can fill")
    .argument('<snapshot>', 'id, name, or beginning of an id')
    .option('--tokens', 'show their tokens, not only the fingerprints')
    .action((snapshot: string, { tokens = false }: { readonly tokens?: boolean }) =>
      run(async (context) => {
        const { snapshots } = context.client;
        const response = await context.client.unary<ListMailboxesRequest, ListMailboxesResponse>(
          snapshots.listMailboxes.bind(snapshots),
          { snapshot, includeTokens: tokens },
        );
        await context.print({
          json: () => protoJson('ListMailboxesResponse', ListMailboxesResponse, response),
          text: () => describeMailboxes(response.mailboxes),
        });
      }),
    );
};

/** Every page: what is printed is one list. */
async function allSnapshots(
  { client }: CommandContext,
  instance: string,
  labels: Record<string, string>,
): Promise<Snapshot[]> {
  const found: Snapshot[] = [];
  let pageToken = '';
  do {
    const page = await client.unary<ListSnapshotsRequest, ListSnapshotsResponse>(
      client.snapshots.listSnapshots.bind(client.snapshots),
      { pageSize: PAGE_SIZE, pageToken, instance, labels },
      READ_DEADLINE_MS,
    );
    found.push(...page.snapshots);
    pageToken = page.nextPageToken;
  } while (pageToken !== '');
  return found;
}

const list = (snapshots: readonly Snapshot[]): string =>
  table(
    ['NAME', 'ID', 'SOURCE', 'MEMORY', 'ON DISK', 'DURABLE', 'AGE'],
    snapshots.map((snapshot) => [
      snapshot.name,
      snapshot.id,
      snapshot.sourceName,
      snapshot.hasMemory ? formatBytes(snapshot.memoryBytes) : '',
      formatBytes(snapshot.allocatedBytes),
      snapshot.durable ? 'yes' : 'not yet',
      formatAge(snapshot.createTime),
    ]),
  );

const describe = (snapshot: Snapshot): string =>
  facts([
    ['Name', snapshot.name],
    ['Id', snapshot.id],
    ['Labels', formatMap(snapshot.labels)],
    ['Taken of', `${snapshot.sourceName} (${snapshot.sourceId})`],
    ['Created', snapshot.createTime?.toISOString() ?? ''],
    ['Image', snapshot.imageId],
    ['CPUs', String(snapshot.vcpus)],
    ['Memory', snapshot.hasMemory ? formatBytes(snapshot.memoryBytes) : 'none: the instance was stopped'],
    ['Driver', `${snapshot.machine?.driver ?? ''} ${snapshot.machine?.driverVersion ?? ''}`.trim()],
    ['Machine type', snapshot.machine?.machineType ?? ''],
    ['CPU model', snapshot.machine?.cpuModel ?? ''],
    ['Accelerator', snapshot.machine?.accelerator ?? ''],
    ['Network mode', snapshot.machine?.networkMode ?? ''],
    ['Kernel', snapshot.machine?.kernelRelease ?? ''],
    ['Agent', snapshot.machine?.agentVersion ?? ''],
    ['Durable', snapshot.durable ? 'yes' : 'not yet'],
    ['On disk', formatBytes(snapshot.allocatedBytes)],
    ['Checksums', formatMap(snapshot.checksums)],
    ['Directory', snapshot.directory],
  ]);
