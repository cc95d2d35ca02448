import type { Instance, InstanceStorage } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import { GetInstanceRequest, GetInstanceResponse } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { formatBytes, formatMap, formatState } from '../format-values.js';
import { describeMailboxes } from '../mailbox-table.js';
import { protoJson } from '../proto-json.js';
import { facts } from '../tables.js';
import type { Define } from './define.js';

export const defineInspect: Define = (program, run) => {
  program
    .command('inspect')
    .description('show an instance, what it takes of the disk, and its mailboxes')
    .argument('<instance>', 'id, name, or beginning of an id')
    .action((instance: string) =>
      run(async (context) => {
        const { instances } = context.client;
        const response = await context.client.unary<GetInstanceRequest, GetInstanceResponse>(
          instances.getInstance.bind(instances),
          { instance, includeMailboxes: true, includeStorage: true },
        );
        await context.print({
          json: () => protoJson('GetInstanceResponse', GetInstanceResponse, response),
          text: () =>
            [
              ...(response.instance === undefined ? [] : [describe(response.instance, response.storage)]),
              describeMailboxes(response.mailboxes),
            ].join('\n\n'),
        });
      }),
    );
};

const describe = (instance: Instance, storage: InstanceStorage | undefined): string =>
  facts([
    ['Name', instance.name],
    ['Id', instance.id],
    ['State', formatState(instance.state)],
    ['Reason', instance.stateReason],
    ['Labels', formatMap(instance.labels)],
    ['Image', instance.imageId],
    ['Driver', instance.driver],
    ['CPUs', String(instance.vcpus)],
    ['Memory', formatBytes(instance.memoryBytes)],
    ['Disk', instance.diskBytes === 0n ? '' : formatBytes(instance.diskBytes)],
    [
      'Address',
      instance.network === undefined ? '' : `${instance.network.ipv4}/${String(instance.network.prefixLength)}`,
    ],
    ['Gateway', instance.network?.gateway ?? ''],
    ['MAC', instance.network?.mac ?? ''],
    ['TAP', instance.network?.tap ?? ''],
    ['Forked from', instance.forkedFrom],
    ['Of snapshot', instance.forkedFromSnapshot],
    ['Created', instance.createTime?.toISOString() ?? ''],
    ['VMM pid', instance.vmmPid === 0 ? '' : String(instance.vmmPid)],
    ['Agent', instance.agent?.version ?? ''],
    ['Kernel', instance.agent?.kernelRelease ?? ''],
    [
      'Disk use',
      storage === undefined ? '' : `${formatBytes(storage.ownBytes)} own, ${formatBytes(storage.sharedBytes)} shared`,
    ],
    ['Directory', instance.directory],
  ]);
