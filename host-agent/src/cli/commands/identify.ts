import { text } from 'node:stream/consumers';
import {
  ReviewCredentialRequest,
  ReviewCredentialResponse,
} from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { formatState } from '../format-values.js';
import { protoJson } from '../proto-json.js';
import type { Define } from './define.js';

export const defineIdentify: Define = (program, run) => {
  program
    .command('identify')
    .description('tell which instance a credential belongs to, which is read from standard input')
    .action(() =>
      run(async (context) => {
        const { instances } = context.client;
        // Not an argument: those are for everybody on the machine to read.
        const credential = (await text(process.stdin)).trim();
        const response = await context.client.unary<ReviewCredentialRequest, ReviewCredentialResponse>(
          instances.reviewCredential.bind(instances),
          { credential },
        );
        await context.print({
          json: () => protoJson('ReviewCredentialResponse', ReviewCredentialResponse, response),
          text: () => {
            const { name = '', id = '', state } = response.instance ?? {};
            return `${name} (${id}), ${state === undefined ? '' : formatState(state)}`;
          },
        });
      }),
    );
};
