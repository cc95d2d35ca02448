import type { Duration } from '@offshoot/proto/generated/google/protobuf/duration.js';
import {
  StandbyInstanceRequest,
  StandbyInstanceResponse,
} from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { formatDuration } from '../format-values.js';
import { collect, parseSeconds } from '../option-values.js';
import { protoJson } from '../proto-json.js';
import type { Define } from './define.js';

export const defineStandby: Define = (program, run) => {
  program
    .command('standby')
    .description('park a running instance')
    .argument('<instance>', 'id, name, or beginning of an id')
    .option('--wait-mailbox <name>', 'first wait until this mailbox is armed; may be repeated', collect)
    .option('--wait-timeout <seconds>', 'how long to wait for them (default 30)', parseSeconds)
    .option(
      '--no-freeze',
      "do not freeze the workload: its forks' first instructions then run under this instance's identity",
    )
    .action((instance: string, options: { waitMailbox?: string[]; waitTimeout?: Duration; freeze: boolean }) =>
      run(async (context) => {
        const { instances } = context.client;
        const response = await context.client.unary<StandbyInstanceRequest, StandbyInstanceResponse>(
          instances.standbyInstance.bind(instances),
          {
            instance,
            waitMailboxes: options.waitMailbox ?? [],
            waitTimeout: options.waitTimeout,
            freezeWorkload: options.freeze,
            requestId: '',
          },
        );
        await context.print({
          json: () => protoJson('StandbyInstanceResponse', StandbyInstanceResponse, response),
          text: () => `${response.instance?.name ?? ''} is parked, paused for ${formatDuration(response.captureTime)}`,
        });
      }),
    );
};
