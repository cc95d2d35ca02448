import { StartInstanceRequest, StartInstanceResponse } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { formatDuration } from '../format-values.js';
import { withProgress } from '../progress.js';
import { protoJson } from '../proto-json.js';
import type { Define } from './define.js';

export const defineStart: Define = (program, run) => {
  program
    .command('start')
    .description('boot a stopped or failed instance from its own disk')
    .argument('<instance>', 'id, name, or beginning of an id')
    .action((instance: string) =>
      run(async (context) => {
        const { instances } = context.client;
        const response = await withProgress(context, `Booting ${instance}`, () =>
          context.client.unary<StartInstanceRequest, StartInstanceResponse>(instances.startInstance.bind(instances), {
            instance,
            requestId: '',
          }),
        );
        await context.print({
          json: () => protoJson('StartInstanceResponse', StartInstanceResponse, response),
          text: () => `${response.instance?.name ?? ''} runs after ${formatDuration(response.bootTime)}`,
        });
      }),
    );
};
