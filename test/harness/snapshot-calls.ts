import {
  CreateSnapshotRequest,
  DeleteSnapshotRequest,
  ForkSnapshotRequest,
  ForkSnapshotsRequest,
  ListSnapshotsRequest,
  RestoreSnapshotRequest,
  type CreateSnapshotResponse,
  type ForkSnapshotsResponse,
  type GetSnapshotResponse,
} from '@offshoot/proto/generated/offshoot/v1/snapshot_service.js';
import type { Snapshot } from '@offshoot/proto/generated/offshoot/v1/snapshot.js';
import type { Instance, Mailbox } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import type { ForkInstanceResponse } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { patientFork, patientForks } from './patient-fork.js';
import type { TestHost } from './test-host.js';

/** SnapshotService of a test's daemon. */
export class SnapshotCalls {
  constructor(private readonly host: TestHost) {}

  create(request: Parameters<typeof CreateSnapshotRequest.fromPartial>[0]): Promise<CreateSnapshotResponse> {
    const { snapshots } = this.host.client;
    return this.host.client.unary(snapshots.createSnapshot.bind(snapshots), CreateSnapshotRequest.fromPartial(request));
  }

  get(snapshot: string): Promise<GetSnapshotResponse> {
    const { snapshots } = this.host.client;
    return this.host.client.unary(snapshots.getSnapshot.bind(snapshots), { snapshot });
  }

  async mailboxes(snapshot: string, includeTokens = false): Promise<readonly Mailbox[]> {
    const { snapshots } = this.host.client;
    const request = { snapshot, includeTokens };
    return (await this.host.client.unary(snapshots.listMailboxes.bind(snapshots), request)).mailboxes;
  }

  async list(request: Parameters<typeof ListSnapshotsRequest.fromPartial>[0] = {}): Promise<readonly Snapshot[]> {
    const { snapshots } = this.host.client;
    const page = await this.host.client.unary(
      snapshots.listSnapshots.bind(snapshots),
      ListSnapshotsRequest.fromPartial(request),
    );
    return page.snapshots;
  }

  /** As patient as can be where the request does not say how long to wait. */
  async fork(request: Parameters<typeof ForkSnapshotRequest.fromPartial>[0]): Promise<ForkInstanceResponse> {
    const { snapshots } = this.host.client;
    const { fork } = await this.host.client.unary(
      snapshots.forkSnapshot.bind(snapshots),
      patientFork(ForkSnapshotRequest.fromPartial(request)),
    );
    return fork!;
  }

  /** All outcomes of one call, as patient as `fork`. */
  async forkMany(request: Parameters<typeof ForkSnapshotsRequest.fromPartial>[0]): Promise<ForkSnapshotsResponse[]> {
    const { snapshots } = this.host.client;
    const stream = this.host.client.stream(
      snapshots.forkSnapshots.bind(snapshots),
      patientForks(ForkSnapshotsRequest.fromPartial(request)),
    );
    const outcomes: ForkSnapshotsResponse[] = [];
    for await (const outcome of stream) outcomes.push(outcome);
    return outcomes;
  }

  async restore(snapshot: string): Promise<Instance> {
    const { snapshots } = this.host.client;
    return (
      await this.host.client.unary(
        snapshots.restoreSnapshot.bind(snapshots),
        RestoreSnapshotRequest.fromPartial({ snapshot }),
      )
    ).instance!;
  }

  async verify(snapshot: string): Promise<Snapshot> {
    const { snapshots } = this.host.client;
    return (await this.host.client.unary(snapshots.verifySnapshot.bind(snapshots), { snapshot })).snapshot!;
  }

  async delete(snapshot: string): Promise<void> {
    const { snapshots } = this.host.client;
    await this.host.client.unary(
      snapshots.deleteSnapshot.bind(snapshots),
      DeleteSnapshotRequest.fromPartial({ snapshot }),
    );
  }

  async deleteAll(): Promise<void> {
    for (const { id } of await this.list()) await this.delete(id);
  }
}
