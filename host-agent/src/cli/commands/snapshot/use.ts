import {
  DeleteSnapshotRequest,
  DeleteSnapshotResponse,
  RestoreSnapshotRequest,
  RestoreSnapshotResponse,
  VerifySnapshotRequest,
  VerifySnapshotResponse,
} from '@offshoot/proto/generated/offshoot/v1/snapshot_service.js';
import { formatDuration, formatState } from '../../format-values.js';
import { protoJson } from '../../proto-json.js';
import type { Define } from '../define.js';

export const defineSnapshotRestore: Define = (group, run) => {
  group
    .command('restore')
    .description('put the instance it was taken of back to that moment; what that was since then is gone')
    .argument('<snapshot>', 'id, name, or beginning of an id')
    .action((snapshot: string) =>
      run(async (context) => {
        const { snapshots } = context.client;
        const response = await context.client.unary<RestoreSnapshotRequest, RestoreSnapshotResponse>(
          snapshots.restoreSnapshot.bind(snapshots),
          { snapshot, requestId: '' },
        );
        const { instance, restoreTime } = response;
        await context.print({
          json: () => protoJson('RestoreSnapshotResponse', RestoreSnapshotResponse, response),
          text: () =>
            instance === undefined
              ? ''
              : `${instance.name} is ${formatState(instance.state)} after ${formatDuration(restoreTime)}`,
        });
      }),
    );
};

export const defineSnapshotVerify: Define = (group, run) => {
  group
    .command('verify')
    .description('read a snapshot whole and compare it with its checksums')
    .argument('<snapshot>', 'id, name, or beginning of an id')
    .action((snapshot: string) =>
      run(async (context) => {
        const { snapshots } = context.client;
        const response = await context.client.unary<VerifySnapshotRequest, VerifySnapshotResponse>(
          snapshots.verifySnapshot.bind(snapshots),
          { snapshot },
        );
        await context.print({
          json: () => protoJson('VerifySnapshotResponse', VerifySnapshotResponse, response),
          text: () => `${response.snapshot?.name ?? ''} is what was left`,
        });
      }),
    );
};

export const defineSnapshotRm: Define = (group, run) => {
  group
    .command('rm')
    .description('delete snapshots; what was forked from them lives on')
    .argument('<snapshot...>', 'ids, names, or beginnings of ids')
    .action((references: string[]) =>
      run(async (context) => {
        const { snapshots } = context.client;
        const deleted: string[] = [];
        // One after the other, and up to the first failure, so that what is left is what the message names and after it.
        for (const snapshot of references) {
          await context.client.unary<DeleteSnapshotRequest, DeleteSnapshotResponse>(
            snapshots.deleteSnapshot.bind(snapshots),
            { snapshot, requestId: '' },
          );
          deleted.push(snapshot);
        }
        await context.print({ json: () => Promise.resolve({ deleted }), text: () => deleted.join('\n') });
      }),
    );
};
