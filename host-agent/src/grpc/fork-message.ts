import type {
  DiskClone as DiskCloneMessage,
  ForkInstanceResponse,
  ForkInstancesResponse,
  ForkTimings,
} from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import type { ForkOutcome, ForkResult } from '../app/commands.js';
import type { DiskClone } from '../ports/disk-storage.js';
import type { ErrorStatus } from './error-status.js';
import { toInstanceMessage } from './instance-message.js';
import { toDuration } from './proto-duration.js';

export function toForkMessage(result: ForkResult, directory: string): ForkInstanceResponse {
  const { timings: t } = result;
  const timings: ForkTimings = {
    clone: toDuration(t.clone),
    spawn: toDuration(t.spawn),
    load: toDuration(t.load),
    patch: toDuration(t.patch),
    resume: toDuration(t.resume),
    network: toDuration(t.network),
    ack: toDuration(t.ack),
    total: toDuration(t.total),
    sourcePause: t.sourcePause === undefined ? undefined : toDuration(t.sourcePause),
  };
  return {
    instance: toInstanceMessage(result.instance, directory),
    acks: result.acks.map(({ mailbox, stage, detail, latencyMs }) => ({
      mailbox,
      stage,
      detail,
      latency: toDuration(latencyMs),
    })),
    timings,
    disk: toDiskMessage(result.disk),
    sourceDisk: result.sourceDisk === undefined ? undefined : toDiskMessage(result.sourceDisk),
  };
}

const toDiskMessage = ({ copiedBytes, reflinked, layers, ms }: DiskClone): DiskCloneMessage => ({
  copiedBytes: BigInt(copiedBytes),
  reflinked,
  layers,
  time: toDuration(ms),
});

/** @param describe what a single call would have ended with */
export function toForkOutcomeMessage(
  { index, result, error }: ForkOutcome,
  toMessage: (result: ForkResult) => ForkInstanceResponse,
  describe: (error: unknown) => ErrorStatus,
): ForkInstancesResponse {
  if (result !== undefined) return { index, outcome: { $case: 'fork', fork: toMessage(result) } };
  const { code, details, reason } = describe(error);
  return { index, outcome: { $case: 'failure', failure: { code, reason, message: details } } };
}
