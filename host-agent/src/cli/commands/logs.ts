import {
  LogSource,
  StreamLogsRequest,
  StreamLogsResponse,
} from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { InvalidInput } from '@offshoot/shared/errors.js';
import { Option } from 'commander';
import { writeAll } from '../daemon-client.js';
import { protoJson } from '../proto-json.js';
import type { Define } from './define.js';

const SOURCES = {
  workload: LogSource.LOG_SOURCE_WORKLOAD,
  console: LogSource.LOG_SOURCE_CONSOLE,
  vmm: LogSource.LOG_SOURCE_VMM,
} as const;

export const defineLogs: Define = (program, run) => {
  program
    .command('logs')
    .description('print what an instance wrote')
    .argument('<instance>', 'id, name, or beginning of an id')
    .option('-f, --follow', 'go on as more is written', false)
    .addOption(
      new Option('--source <source>', 'who wrote it').choices(Object.keys(SOURCES)).default('workload' as const),
    )
    .action((instance: string, options: { follow: boolean; source: keyof typeof SOURCES }) =>
      run(async (context) => {
        if (context.json && options.follow)
          throw InvalidInput.field('--json', 'prints one document at the end, and --follow has no end: leave one out');
        const { instances } = context.client;
        const messages = context.client.stream<StreamLogsRequest, StreamLogsResponse>(
          instances.streamLogs.bind(instances),
          { instance, source: SOURCES[options.source], follow: options.follow },
        );
        const pieces: Buffer[] = [];
        for await (const { data } of messages)
          if (context.json) pieces.push(data);
          else await writeAll(process.stdout, data);
        if (context.json)
          await context.print({
            json: () => protoJson('StreamLogsResponse', StreamLogsResponse, { data: Buffer.concat(pieces) }),
            text: () => '',
          });
      }),
    );
};
