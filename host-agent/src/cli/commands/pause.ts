import {
  PauseInstanceRequest,
  PauseInstanceResponse,
  ResumeInstanceRequest,
  ResumeInstanceResponse,
} from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { protoJson } from '../proto-json.js';
import type { Define } from './define.js';

export const definePause: Define = (program, run) => {
  program
    .command('pause')
    .description("halt a running instance's processors; its hypervisor stays")
    .argument('<instance>', 'id, name, or beginning of an id')
    .action((instance: string) =>
      run(async (context) => {
        const { instances } = context.client;
        const response = await context.client.unary<PauseInstanceRequest, PauseInstanceResponse>(
          instances.pauseInstance.bind(instances),
          { instance, requestId: '' },
        );
        await context.print({
          json: () => protoJson('PauseInstanceResponse', PauseInstanceResponse, response),
          text: () => `${response.instance?.name ?? ''} is paused`,
        });
      }),
    );
};

export const defineResume: Define = (program, run) => {
  program
    .command('resume')
    .description('let a paused instance go on')
    .argument('<instance>', 'id, name, or beginning of an id')
    .action((instance: string) =>
      run(async (context) => {
        const { instances } = context.client;
        const response = await context.client.unary<ResumeInstanceRequest, ResumeInstanceResponse>(
          instances.resumeInstance.bind(instances),
          { instance, requestId: '' },
        );
        await context.print({
          json: () => protoJson('ResumeInstanceResponse', ResumeInstanceResponse, response),
          text: () => `${response.instance?.name ?? ''} runs again`,
        });
      }),
    );
};
