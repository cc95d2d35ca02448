import type { Snapshot as SnapshotMessage } from '@offshoot/proto/generated/offshoot/v1/snapshot.js';
import type { Snapshot } from '../domain/snapshot.js';

/** @param directory absolute path of the snapshot's folder @param allocatedBytes what its files take on disk */
export function toSnapshotMessage(
  { capture, agent, checksums, ...snapshot }: Snapshot,
  directory: string,
  allocatedBytes: number,
): SnapshotMessage {
  return {
    id: snapshot.id,
    name: snapshot.name,
    labels: { ...snapshot.labels },
    createTime: new Date(snapshot.createdAt),
    sourceId: snapshot.sourceId,
    sourceName: snapshot.sourceName,
    imageId: snapshot.imageId,
    vcpus: snapshot.vcpus,
    memoryBytes: BigInt(snapshot.memoryBytes),
    hasMemory: capture !== undefined,
    machine: {
      driver: snapshot.driver,
      driverVersion: capture?.driverVersion ?? '',
      machineType: capture?.machineType ?? '',
      cpuModel: capture?.cpuModel ?? '',
      accelerator: capture?.accelerator ?? '',
      networkMode: capture?.networkMode ?? '',
      kernelRelease: agent?.kernelRelease ?? '',
      agentVersion: agent?.version ?? '',
    },
    durable: checksums !== undefined,
    checksums: { ...checksums },
    allocatedBytes: BigInt(allocatedBytes),
    directory,
  };
}
