import type { Duration } from '@offshoot/proto/generated/google/protobuf/duration.js';
import { InstanceState } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import { ForkInstanceRequest, ForkInstanceResponse } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { readDeliveries, type DeliveryOptions } from '../deliveries.js';
import { formatDuration, printable } from '../format-values.js';
import { forkMany } from './fork-many.js';
import { REQUEST_ID_HELP, collect, collectPairs, parseWhole, parseSeconds } from '../option-values.js';
import { protoJson } from '../proto-json.js';
import { table } from '../tables.js';
import type { Define } from './define.js';

interface ForkOptions extends DeliveryOptions {
  readonly name?: string;
  readonly label?: Record<string, string>;
  readonly waitNetwork: boolean;
  readonly networkTimeout?: Duration;
  readonly fromRunning: boolean;
  readonly stopped: boolean;
  readonly freeze: boolean;
  readonly count?: number;
  readonly allOrNothing: boolean;
  readonly requestId: string;
}

const PHASES = ['clone', 'spawn', 'load', 'patch', 'resume', 'network', 'ack', 'total'] as const;

export const defineFork: Define = (program, run) => {
  program
    .command('fork')
    .description('make a new instance from a parked, stopped or running one')
    .argument('<source>', 'id, name, or beginning of an id')
    .option('--name <name>', 'name of the fork; made up when left out')
    .option('--label <key=value>', 'label; may be repeated', collectPairs)
    .option('--mailbox <name=json|name=@file>', 'payload for a mailbox; may be repeated', collect)
    .option('--mailbox-token <name=token>', "a mailbox's token; may be repeated", collectPairs)
    .option('--no-wait-ack', 'do not wait until the guest acknowledges its payloads')
    .option('--ack-timeout <seconds>', 'how long to wait for that, up to 30 (default 5)', parseSeconds)
    .option('--keep-on-ack-timeout', 'keep the fork when no acknowledgement comes in time')
    .option('--no-wait-network', 'do not wait until the guest has its own address')
    .option('--network-timeout <seconds>', 'how long to wait for that, up to 30 (default 10)', parseSeconds)
    .option('--from-running', 'fork a running source too; it is paused for the capture and goes on', false)
    .option('--stopped', 'clone the disk only, and leave the fork stopped', false)
    .option('--no-freeze', "do not freeze a running source's workload for the capture")
    .option('--count <n>', 'so many forks of one moment, up to 256; their names end in -0, -1 ...', parseWhole)
    .option('--all-or-nothing', 'with --count: remove all when one fails', false)
    .option('--request-id <id>', REQUEST_ID_HELP, '')
    .action((source: string, options: ForkOptions) =>
      run(async (context) => {
        const request: ForkInstanceRequest = {
          source,
          name: options.name ?? '',
          labels: options.label ?? {},
          mailboxes: await readDeliveries(options),
          waitForNetwork: options.waitNetwork,
          networkTimeout: options.networkTimeout,
          fromRunning: options.fromRunning,
          targetState: options.stopped
            ? InstanceState.INSTANCE_STATE_STOPPED
            : InstanceState.INSTANCE_STATE_UNSPECIFIED,
          freezeWorkload: options.freeze,
          requestId: options.count === undefined ? options.requestId : '',
        };
        if (options.count !== undefined) {
          await forkMany(context, {
            fork: request,
            count: options.count,
            mailboxesByIndex: [],
            allOrNothing: options.allOrNothing,
            requestId: options.requestId,
          });
          return;
        }
        const { instances } = context.client;
        const response = await context.client.unary<ForkInstanceRequest, ForkInstanceResponse>(
          instances.forkInstance.bind(instances),
          request,
        );
        await context.print({
          json: () => protoJson('ForkInstanceResponse', ForkInstanceResponse, response),
          text: () => describe(response),
        });
      }),
    );
};

/** For people: who runs where, what the guest said, where the time went. */
export function describe({ instance, acks, timings }: ForkInstanceResponse): string {
  const lines = [headline(instance)];
  for (const { mailbox, stage, detail, latency } of acks)
    lines.push(
      stage === ''
        ? `${mailbox}: not acknowledged in time`
        : printable(`${mailbox}: ${stage} after ${formatDuration(latency)}${detail === '' ? '' : `: ${detail}`}`),
    );
  if (timings?.sourcePause !== undefined)
    lines.push(`the source stood still for ${formatDuration(timings.sourcePause)}`);
  if (timings !== undefined)
    lines.push(
      table(
        PHASES.map((phase) => phase.toUpperCase()),
        [PHASES.map((phase) => formatDuration(timings[phase]))],
      ),
    );
  return lines.join('\n');
}

const headline = (instance: ForkInstanceResponse['instance']): string =>
  instance?.state === InstanceState.INSTANCE_STATE_STOPPED
    ? `${instance.name} is stopped`
    : `${instance?.name ?? ''} runs at ${instance?.network?.ipv4 ?? ''}`;
