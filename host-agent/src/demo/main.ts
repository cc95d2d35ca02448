import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { messageOf } from '@offshoot/shared/errors.js';
import { GetHostRequest } from '@offshoot/proto/generated/offshoot/v1/host_service.js';
import {
  CreateInstanceRequest,
  DeleteInstanceRequest,
  ForkInstanceRequest,
  StandbyInstanceRequest,
  type ForkInstanceResponse,
} from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { Listr } from 'listr2';
import { DaemonClient } from '../cli/daemon-client.js';
import { formatDuration } from '../cli/format-values.js';
import { table } from '../cli/tables.js';
import { buildDefaultImage } from './default-image.js';
import { DaemonProcess } from './daemon-process.js';
import { privateNetwork } from './private-network.js';
import { TASKS, expectedAnswer } from './tasks.js';

const repository = fileURLToPath(new URL('../../../', import.meta.url));
const { values: options } = parseArgs({
  options: { worker: { type: 'string', default: join(repository, 'host-agent/demo/worker.cjs') } },
});
const PHASES = ['clone', 'spawn', 'load', 'patch', 'resume', 'ack'] as const;

/** A spinner where there is a terminal, lines where not. */
const RENDERING = { fallbackRenderer: 'simple', registerSignalListeners: false } as const;

/** One fork of the demo: what it was asked, what it said, and whether that is right. */
interface Fork {
  readonly payload: string;
  readonly response: ForkInstanceResponse;
  readonly answer: string;
  readonly right: boolean;
}

/** Does the main job on a real VM, in a daemon of its own, and leaves nothing behind. Returns whether every answer is right. */
async function demo(signal: AbortSignal): Promise<boolean> {
  const stateDirectory = await mkdtemp(join(tmpdir(), 'offshoot-demo-'));
  const imagesDirectory = join(repository, '.cache/images');
  const forks: Fork[] = [];
  try {
    await new Listr(
      [
        {
          title: 'Build the default image, unless it is there',
          task: async (_, task) => {
            const onStep = (step: string): void => {
              task.output = step;
            };
            const { id, kernelRelease } = await buildDefaultImage(imagesDirectory, onStep, signal);
            task.title = `Image ${id.slice(0, 12)}, kernel ${kernelRelease}`;
          },
        },
      ],
      RENDERING,
    ).run();
    const daemon = await DaemonProcess.start({
      settings: {
        state_dir: stateDirectory,
        images_dir: imagesDirectory,
        listen: `unix://${join(stateDirectory, 'api.sock')}`,
        log_level: 'warn',
      },
      through: privateNetwork(),
    });
    try {
      using client = new DaemonClient(daemon.address, signal);
      await steps(client, forks).run();
    } finally {
      await removeInstances(daemon.address, ['source', ...TASKS.map((_, i) => `fork-${String(i + 1)}`)]);
      await daemon.stop();
    }
  } finally {
    await rm(stateDirectory, { recursive: true, force: true });
  }
  report(forks);
  return forks.length === TASKS.length && forks.every(({ right }) => right);
}

function steps(client: DaemonClient, forks: Fork[]): Listr {
  const { host, instances } = client;
  return new Listr(
    [
      {
        title: 'Look at the host',
        task: async (_, task) => {
          const { drivers, network } = await client.unary(host.getHost.bind(host), GetHostRequest.fromPartial({}));
          const [driver] = drivers;
          if (driver?.available !== true) throw new Error(driver?.unavailableReason ?? 'no driver');
          const why = driver.acceleratorReason === '' ? '' : ` (${driver.acceleratorReason})`;
          task.title += `: ${driver.name} ${driver.version} on ${driver.accelerator}${why}, network ${network?.mode ?? ''}`;
        },
      },
      {
        title: 'Boot a VM with a worker that arms the mailbox "task"',
        task: async (_, task) => {
          const content = await readFile(options.worker);
          const { bootTime } = await client.unary(
            instances.createInstance.bind(instances),
            CreateInstanceRequest.fromPartial({
              name: 'source',
              workload: { argv: ['node', '/srv/worker.cjs'], files: [{ path: '/srv/worker.cjs', content }] },
            }),
          );
          task.title += `: ${formatDuration(bootTime)}`;
        },
      },
      {
        title: 'Park it where the worker waits',
        task: async (_, task) => {
          const { captureTime } = await client.unary(
            instances.standbyInstance.bind(instances),
            StandbyInstanceRequest.fromPartial({ instance: 'source', waitMailboxes: ['task'] }),
          );
          task.title += `: ${formatDuration(captureTime)}`;
        },
      },
      ...TASKS.map((each, i) => ({
        title: `Fork it with ${JSON.stringify(each)}`,
        task: async (): Promise<void> => {
          const payload = JSON.stringify(each);
          const response = await client.unary(
            instances.forkInstance.bind(instances),
            ForkInstanceRequest.fromPartial({
              source: 'source',
              name: `fork-${String(i + 1)}`,
              mailboxes: [
                { name: 'task', payload: { $case: 'json', json: payload }, ackTimeout: { seconds: 30n, nanos: 0 } },
              ],
            }),
          );
          const answer = response.acks[0]?.detail ?? '';
          const right = answer === expectedAnswer(each, response.instance?.network?.ipv4 ?? '');
          forks.push({ payload, response, answer, right });
        },
      })),
    ],
    RENDERING,
  );
}

/** Also after a cancellation, hence a connection of its own. */
async function removeInstances(address: string, names: readonly string[]): Promise<void> {
  using client = new DaemonClient(address, new AbortController().signal);
  const { instances } = client;
  await Promise.allSettled(
    names.map((instance) =>
      client.unary(
        instances.deleteInstance.bind(instances),
        DeleteInstanceRequest.fromPartial({ instance, force: true }),
      ),
    ),
  );
}

function report(forks: readonly Fork[]): void {
  const rows = forks.map(({ payload, response: { instance, timings }, answer, right }) => [
    instance?.name ?? '',
    instance?.network?.ipv4 ?? '',
    payload,
    answer,
    right ? 'right' : 'WRONG',
    ...PHASES.map((phase) => formatDuration(timings?.[phase])),
  ]);
  console.log(
    `\n${table(['FORK', 'ADDRESS', 'PAYLOAD', 'ANSWER', '', ...PHASES.map((phase) => phase.toUpperCase())], rows)}`,
  );
  console.log(
    '\nNext: the first five minutes in README.md do the same by hand, with ./bin/offshootd and ./bin/offshoot;\n' +
      'docs/mailboxes.md says how your own software arms a mailbox.',
  );
}

const interrupted = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const)
  process.once(name, () => {
    interrupted.abort(new Error(`ended by ${name}`));
  });
try {
  process.exitCode = (await demo(interrupted.signal)) ? 0 : 1;
} catch (error) {
  console.error(`demo: ${messageOf(error)}`);
  process.exitCode = 1;
}
