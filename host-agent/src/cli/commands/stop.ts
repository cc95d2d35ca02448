import type { Duration } from '@offshoot/proto/generated/google/protobuf/duration.js';
import { StopInstanceRequest, StopInstanceResponse } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { parseSeconds } from '../option-values.js';
import { protoJson } from '../proto-json.js';
import type { Define } from './define.js';

export const defineStop: Define = (program, run) => {
  program
    .command('stop')
    .description("end an instance's hypervisor and keep its disk")
    .argument('<instance>', 'id, name, or beginning of an id')
    .option('--grace <seconds>', 'how long the guest may take to shut down (default 5)', parseSeconds)
    .action((instance: string, options: { grace?: Duration }) =>
      run(async (context) => {
        const { instances } = context.client;
        const response = await context.client.unary<StopInstanceRequest, StopInstanceResponse>(
          instances.stopInstance.bind(instances),
          { instance, gracePeriod: options.grace, requestId: '' },
        );
        await context.print({
          json: () => protoJson('StopInstanceResponse', StopInstanceResponse, response),
          text: () => `${response.instance?.name ?? ''} is stopped`,
        });
      }),
    );
};
