import type { ForkInstanceResponse, ForkTimings } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import type { ForkResult } from '../app/commands.js';
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
  };
}
