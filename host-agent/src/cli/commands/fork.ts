import type { Duration } from '@offshoot/proto/generated/google/protobuf/duration.js';
import { ForkInstanceRequest, ForkInstanceResponse } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { readDeliveries, type DeliveryOptions } from '../deliveries.js';
import { formatDuration, printable } from '../format-values.js';
import { collect, collectPairs, parseSeconds } from '../option-values.js';
import { protoJson } from '../proto-json.js';
import { table } from '../tables.js';
import type { Define } from './define.js';

interface ForkOptions extends DeliveryOptions {
  readonly name?: string;
  readonly label?: Record<string, string>;
  readonly waitNetwork: boolean;
  readonly networkTimeout?: Duration;
}

const PHASES = ['clone', 'spawn', 'load', 'patch', 'resume', 'network', 'ack', 'total'] as const;

export const defineFork: Define = (program, run) => {
  program
    .command('fork')
    .description('make a new instance from a parked one')
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
    .action((source: string, options: ForkOptions) =>
      run(async (context) => {
        const request: ForkInstanceRequest = {
          source,
          name: options.name ?? '',
          labels: options.label ?? {},
          mailboxes: await readDeliveries(options),
          waitForNetwork: options.waitNetwork,
          networkTimeout: options.networkTimeout,
        };
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

function describe({ instance, acks, timings }: ForkInstanceResponse): string {
  const lines = [`${instance?.name ?? ''} runs at ${instance?.network?.ipv4 ?? ''}`];
  for (const { mailbox, stage, detail, latency } of acks)
    lines.push(
      stage === ''
        ? `${mailbox}: not acknowledged in time`
        : printable(`${mailbox}: ${stage} after ${formatDuration(latency)}${detail === '' ? '' : `: ${detail}`}`),
    );
  if (timings !== undefined)
    lines.push(
      table(
        PHASES.map((phase) => phase.toUpperCase()),
        [PHASES.map((phase) => formatDuration(timings[phase]))],
      ),
    );
  return lines.join('\n');
}
