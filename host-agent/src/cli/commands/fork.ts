import {
  ForkInstanceRequest,
  ForkInstanceResponse,
  ForkInstancesRequest,
  ForkInstancesResponse,
} from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { addForkOptions, readForkOptions, type ForkOptions } from '../fork-options.js';
import { describeFork, reportForks } from '../fork-report.js';
import { protoJson } from '../proto-json.js';
import type { Define } from './define.js';

interface ForkInstanceOptions extends ForkOptions {
  readonly fromRunning: boolean;
  readonly freeze: boolean;
}

export const defineFork: Define = (program, run) => {
  addForkOptions(
    program
      .command('fork')
      .description('make a new instance from a parked, stopped or running one')
      .argument('<source>', 'id, name, or beginning of an id')
      .option('--from-running', 'fork a running source too; it is paused for the capture and goes on', false)
      .option('--no-freeze', "do not freeze a running source's workload for the capture"),
  ).action((source: string, options: ForkInstanceOptions) =>
    run(async (context) => {
      const { client } = context;
      const { fromRunning, freeze, count, allOrNothing, requestId } = options;
      const fork = { ...(await readForkOptions(options)), source, fromRunning, freezeWorkload: freeze };
      if (count !== undefined) {
        const outcomes = client.stream<ForkInstancesRequest, ForkInstancesResponse>(
          client.instances.forkInstances.bind(client.instances),
          { fork, count, mailboxesByIndex: [], allOrNothing, requestId },
        );
        await reportForks(context, outcomes, count);
        return;
      }
      const response = await client.unary<ForkInstanceRequest, ForkInstanceResponse>(
        client.instances.forkInstance.bind(client.instances),
        fork,
      );
      await context.print({
        json: () => protoJson('ForkInstanceResponse', ForkInstanceResponse, response),
        text: () => describeFork(response),
      });
    }),
  );
};
