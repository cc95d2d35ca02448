import { setMaxListeners } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { messageOf } from '@offshoot/shared/errors.js';
import { ListInstancesRequest } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { Command } from 'commander';
import { z } from 'zod';
import { DaemonClient } from '../cli/daemon-client.js';
import { packageVersion } from '../cli/version.js';
import { buildDefaultImage } from '../demo/default-image.js';
import { DaemonProcess } from '../demo/daemon-process.js';
import { privateNetwork } from '../demo/private-network.js';
import { measureCallRate } from './call-rate.js';
import { residentMib } from './daemon-cost.js';
import { judge } from './goals.js';
import { describeMachine } from './machine.js';
import { OPTIONS, type BenchOptions } from './options.js';
import { OurInstances } from './our-instances.js';
import { report, type BenchResult } from './report.js';
import { measureRound, type RoundResult } from './round.js';

const repository = fileURLToPath(new URL('../../../', import.meta.url));
const imagesDirectory = join(repository, '.cache/images');
const resultsDirectory = join(repository, 'bench/results');

const IMAGE = z.object({ kernelParameters: z.string() });

/** Measures in a daemon of its own and leaves nothing behind but the file of results. */
async function bench(options: BenchOptions, signal: AbortSignal): Promise<BenchResult> {
  const startedAt = new Date().toISOString();
  const image = await buildDefaultImage(imagesDirectory, tell, signal);
  const directory = await mkdtemp(join(tmpdir(), 'offshoot-bench-'));
  try {
    await using daemon = await DaemonProcess.start({
      settings: {
        state_dir: join(directory, 'state'),
        images_dir: imagesDirectory,
        listen: `unix://${join(directory, 'api.sock')}`,
        log_level: 'warn',
      },
      through: privateNetwork(),
    });
    try {
      using client = new DaemonClient(daemon.address, signal);
      const machine = await describeMachine(client);
      const imageDirectory = join(imagesDirectory, image.id);
      const { kernelParameters } = IMAGE.parse(JSON.parse(await readFile(join(imageDirectory, 'image.json'), 'utf8')));
      const kernel = {
        vmlinuz: join(imageDirectory, 'vmlinuz'),
        initrd: join(imageDirectory, 'initrd'),
        commandLine: `${kernelParameters} offshoot.ipv4=10.0.2.15/24 offshoot.gateway=10.0.2.2 offshoot.hostname=stock`,
      };
      const rounds: RoundResult[] = [];
      for (const memoryMib of options.memory) {
        const { accelerator } = machine;
        const peer = { accelerator, memoryMib, rootDisk: join(imageDirectory, 'rootfs.ext4'), kernel };
        const { forks } = options;
        const daemonPid = daemon.pid;
        rounds.push(await measureRound({ client, daemonPid, forks, peer, scratch: directory, onStep: tell, signal }));
      }
      tell('GetInstance');
      await new OurInstances(client).boot('asked', options.memory[0] ?? 512);
      const getInstance = await measureCallRate(client, 'asked');
      const goals = judge(rounds, machine.accelerator);
      const { id, kernelRelease } = image;
      const daemonResidentMib = residentMib(daemon.pid);
      return {
        version: packageVersion(),
        startedAt,
        machine,
        image: { id, kernelRelease },
        rounds,
        goals,
        getInstance,
        daemonResidentMib,
      };
    } finally {
      await removeInstances(daemon.address);
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Also after a cancellation, hence a connection of its own. */
async function removeInstances(address: string): Promise<void> {
  using client = new DaemonClient(address, new AbortController().signal);
  const list = client.instances.listInstances.bind(client.instances);
  const { instances } = await client.unary(list, ListInstancesRequest.fromPartial({ pageSize: 1000 }));
  const ours = new OurInstances(client);
  await Promise.allSettled(instances.map(({ id }) => ours.remove(id)));
}

function tell(step: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${step}`);
}

async function keep(result: BenchResult): Promise<string> {
  await mkdir(resultsDirectory, { recursive: true });
  const path = join(resultsDirectory, `${result.startedAt.replaceAll(':', '-')}.json`);
  await writeFile(path, `${JSON.stringify(result, null, 2)}\n`);
  return path;
}

const interrupted = new AbortController();
setMaxListeners(0, interrupted.signal); // one for each call under way
for (const name of ['SIGINT', 'SIGTERM'] as const)
  process.once(name, () => {
    interrupted.abort(new Error(`ended by ${name}`));
  });
const program = new Command('bench').description(
  'Measures boots, captures and forks on this machine, beside the migration of stock QEMU.',
);
for (const option of OPTIONS) program.addOption(option);
program.action(async (options: BenchOptions) => {
  const result = await bench(options, interrupted.signal);
  tell('');
  console.log(report(result));
  console.log(`\n${await keep(result)}`);
});
try {
  await program.parseAsync();
} catch (error) {
  const { signal } = interrupted;
  console.error(`bench: ${messageOf(signal.aborted ? signal.reason : error)}`);
  process.exitCode = 1;
}
