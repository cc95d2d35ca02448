import {
  DeleteInstanceRequest,
  DeleteInstanceResponse,
} from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import type { Define } from './define.js';

export const defineRm: Define = (program, run) => {
  program
    .command('rm')
    .description('delete instances with everything of them; their forks live on')
    .argument('<instance...>', 'ids, names, or beginnings of ids')
    .option('--force', 'also when they run', false)
    .action((references: string[], { force }: { force: boolean }) =>
      run(async (context) => {
        const { instances } = context.client;
        const deleted: string[] = [];
        // One after the other, and up to the first failure, so that what is left is what the message names and after it.
        for (const instance of references) {
          await context.client.unary<DeleteInstanceRequest, DeleteInstanceResponse>(
            instances.deleteInstance.bind(instances),
            { instance, force, requestId: '' },
          );
          deleted.push(instance);
        }
        await context.print({ json: () => Promise.resolve({ deleted }), text: () => deleted.join('\n') });
      }),
    );
};
