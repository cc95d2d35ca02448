import {
  RestoreInstanceRequest,
  RestoreInstanceResponse,
} from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { formatDuration } from '../format-values.js';
import { protoJson } from '../proto-json.js';
import type { Define } from './define.js';

export const defineRestore: Define = (program, run) => {
  program
    .command('restore')
    .description('resume a parked instance where it stood')
    .argument('<instance>', 'id, name, or beginning of an id')
    .action((instance: string) =>
      run(async (context) => {
        const { instances } = context.client;
        const response = await context.client.unary<RestoreInstanceRequest, RestoreInstanceResponse>(
          instances.restoreInstance.bind(instances),
          { instance, requestId: '' },
        );
        await context.print({
          json: () => protoJson('RestoreInstanceResponse', RestoreInstanceResponse, response),
          text: () => `${response.instance?.name ?? ''} runs again after ${formatDuration(response.restoreTime)}`,
        });
      }),
    );
};
