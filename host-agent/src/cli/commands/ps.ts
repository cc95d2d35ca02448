import type { Instance } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import { ListInstancesRequest, ListInstancesResponse } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { READ_DEADLINE_MS, type CommandContext } from '../command-context.js';
import { formatAge, formatBytes, formatState } from '../format-values.js';
import { collectPairs } from '../option-values.js';
import { protoJson } from '../proto-json.js';
import { table } from '../tables.js';
import type { Define } from './define.js';

const PAGE_SIZE = 1000;

export const definePs: Define = (program, run) => {
  program
    .command('ps')
    .description('list instances, oldest first')
    .option('--label <key=value>', 'only those with this label; may be repeated', collectPairs)
    .action(({ label = {} }: { label?: Record<string, string> }) =>
      run(async (context) => {
        const instances = await allInstances(context, label);
        await context.print({
          json: () => protoJson('ListInstancesResponse', ListInstancesResponse, { instances, nextPageToken: '' }),
          text: () => describe(instances),
        });
      }),
    );
};

/** Every page: what is printed is one list. */
async function allInstances({ client }: CommandContext, labels: Record<string, string>): Promise<Instance[]> {
  const found: Instance[] = [];
  let pageToken = '';
  do {
    const page = await client.unary<ListInstancesRequest, ListInstancesResponse>(
      client.instances.listInstances.bind(client.instances),
      { pageSize: PAGE_SIZE, pageToken, states: [], labels },
      READ_DEADLINE_MS,
    );
    found.push(...page.instances);
    pageToken = page.nextPageToken;
  } while (pageToken !== '');
  return found;
}

function describe(instances: readonly Instance[]): string {
  const names = new Map(instances.map(({ id, name }) => [id, name]));
  return table(
    ['NAME', 'ID', 'STATE', 'DRIVER', 'CPUS', 'MEMORY', 'ADDRESS', 'AGE', 'FORKED FROM'],
    instances.map((instance) => [
      instance.name,
      instance.id,
      formatState(instance.state),
      instance.driver,
      String(instance.vcpus),
      formatBytes(instance.memoryBytes),
      instance.network?.ipv4 ?? '',
      formatAge(instance.createTime),
      names.get(instance.forkedFrom) ?? instance.forkedFrom,
    ]),
  );
}
