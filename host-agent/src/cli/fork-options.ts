import type { Duration } from '@offshoot/proto/generated/google/protobuf/duration.js';
import { InstanceState } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import type { ForkInstanceRequest } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import type { Command } from 'commander';
import { readDeliveries, type DeliveryOptions } from './deliveries.js';
import { REQUEST_ID_HELP, collect, collectPairs, parseSeconds, parseWhole } from './option-values.js';

/** What every fork can be given, whatever it is made of. */
export interface ForkOptions extends DeliveryOptions {
  readonly name?: string;
  readonly label?: Record<string, string>;
  readonly waitNetwork: boolean;
  readonly networkTimeout?: Duration;
  readonly stopped: boolean;
  readonly parked: boolean;
  readonly count?: number;
  readonly allOrNothing: boolean;
  readonly requestId: string;
}

export const addForkOptions = (command: Command): Command =>
  command
    .option('--name <name>', 'name of the fork; made up when left out')
    .option('--label <key=value>', 'label; may be repeated', collectPairs)
    .option('--mailbox <name=json|name=@file>', 'payload for a mailbox; may be repeated', collect)
    .option('--mailbox-token <name=token>', "a mailbox's token; may be repeated", collectPairs)
    .option('--no-wait-ack', 'do not wait until the guest acknowledges its payloads')
    .option('--ack-timeout <seconds>', 'how long to wait for that, up to 30 (default 5)', parseSeconds)
    .option('--keep-on-ack-timeout', 'keep the fork when no acknowledgement comes in time')
    .option('--no-wait-network', 'do not wait until the guest has its own address')
    .option('--network-timeout <seconds>', 'how long to wait for that, up to 30 (default 10)', parseSeconds)
    .option('--stopped', 'clone the disk only, and leave the fork stopped', false)
    .option('--parked', 'leave the fork parked, to be restored later', false)
    .option('--count <n>', 'so many forks of one moment, up to 256; their names end in -0, -1 ...', parseWhole)
    .option('--request-id <id>', REQUEST_ID_HELP, '')
    .option('--all-or-nothing', 'with --count: remove all when one fails', false);

type CommonFields = Pick<
  ForkInstanceRequest,
  'name' | 'labels' | 'mailboxes' | 'waitForNetwork' | 'networkTimeout' | 'targetState' | 'requestId'
>;

/** The fields of a request that these options are for. */
export async function readForkOptions(options: ForkOptions): Promise<CommonFields> {
  return {
    name: options.name ?? '',
    labels: options.label ?? {},
    mailboxes: await readDeliveries(options),
    waitForNetwork: options.waitNetwork,
    networkTimeout: options.networkTimeout,
    targetState: targetOf(options),
    // Of several forks the id is that of the whole request.
    requestId: options.count === undefined ? options.requestId : '',
  };
}

function targetOf({ stopped, parked }: ForkOptions): InstanceState {
  if (stopped) return InstanceState.INSTANCE_STATE_STOPPED;
  return parked ? InstanceState.INSTANCE_STATE_STANDBY : InstanceState.INSTANCE_STATE_UNSPECIFIED;
}
