import {
  CreateInstanceRequest,
  CreateInstanceResponse,
} from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { formatDuration } from '../format-values.js';
import { REQUEST_ID_HELP, collect, collectPairs, parseSize, parseWhole } from '../option-values.js';
import { withProgress } from '../progress.js';
import { protoJson } from '../proto-json.js';
import { readTls, type TlsOptions } from '../tls-files.js';
import { readDiskFiles, readWorkloadFiles } from '../workload-files.js';
import type { Define } from './define.js';

interface RunOptions extends TlsOptions {
  readonly name?: string;
  readonly image?: string;
  readonly driver?: string;
  readonly memory?: number;
  readonly diskSize?: bigint;
  readonly cpus?: number;
  readonly label?: Record<string, string>;
  readonly env?: Record<string, string>;
  readonly workdir?: string;
  readonly file?: string[];
  readonly diskEnv?: Record<string, string>;
  readonly diskFile?: string[];
  readonly requestId: string;
}

export const defineRun: Define = (program, run) => {
  program
    .command('run')
    .description('boot an instance; returns when its agent answers')
    .argument('[command...]', 'program and arguments to run inside, after --')
    .option('--name <name>', 'name of the instance; made up when left out')
    .option('--image <image>', 'image by name or id (default "default")')
    .option('--driver <driver>', "hypervisor driver; the host's default when left out")
    .option('--memory <MiB>', 'guest memory in MiB (default 512)', parseWhole)
    .option('--disk-size <size>', "size of its own disk, as 10GiB (default: the image's)", parseSize)
    .option('--cpus <n>', 'virtual CPUs (default 1)', parseWhole)
    .option('--label <key=value>', 'label; may be repeated', collectPairs)
    .option('--env <key=value>', 'environment of the command; may be repeated', collectPairs)
    .option('--workdir <dir>', 'working directory of the command (default /)')
    .option('--file <hostpath:guestpath>', 'file to write into the guest first; may be repeated', collect)
    .option('--disk-env <key=value>', 'environment of the instance, on its disk too; may be repeated', collectPairs)
    .option('--disk-file <hostpath:guestpath>', 'file to lay on its own disk before it boots; may be repeated', collect)
    .option('--tls-cert <file>', 'certificate to lay on its disk, PEM; with --tls-key')
    .option('--tls-key <file>', 'private key of that certificate, PEM')
    .option('--tls-ca <file>', 'certificates of authorities to lay there, PEM')
    .option('--request-id <id>', REQUEST_ID_HELP, '')
    .action((argv: string[], options: RunOptions) =>
      run(async (context) => {
        const request: CreateInstanceRequest = {
          name: options.name ?? '',
          image: options.image ?? '',
          driver: options.driver ?? '',
          vcpus: options.cpus ?? 0,
          memoryBytes: BigInt(options.memory ?? 0) * 1024n * 1024n,
          diskBytes: options.diskSize ?? 0n,
          env: options.diskEnv ?? {},
          files: (await readDiskFiles(options.diskFile ?? [])).map((file) => ({ ...file, uid: 0, gid: 0 })),
          tls: await readTls(options),
          labels: options.label ?? {},
          requestId: options.requestId,
          workload: {
            argv,
            env: options.env ?? {},
            workingDirectory: options.workdir ?? '',
            files: await readWorkloadFiles(options.file ?? []),
          },
        };
        const { instances } = context.client;
        const response = await withProgress(context, `Booting ${options.name ?? 'an instance'}`, () =>
          context.client.unary<CreateInstanceRequest, CreateInstanceResponse>(
            instances.createInstance.bind(instances),
            request,
          ),
        );
        await context.print({
          json: () => protoJson('CreateInstanceResponse', CreateInstanceResponse, response),
          text: () =>
            `${response.instance?.name ?? ''} runs at ${response.instance?.network?.ipv4 ?? ''}, booted in ${formatDuration(response.bootTime)}`,
        });
      }),
    );
};
