import { setMaxListeners } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { messageOf } from '@offshoot/shared/errors.js';
import { Command } from 'commander';
import { packageVersion } from '../cli/version.js';
import { BenchDaemon } from './bench-daemon.js';
import { measureCallRate } from './call-rate.js';
import { judgeCaptures, measureCaptures, type CapturesResult } from './captures.js';
import { residentMib } from './daemon-cost.js';
import { judge } from './goals.js';
import { judgeMailboxes, measureMailboxes } from './mailboxes.js';
import { OPTIONS, type BenchOptions } from './options.js';
import { OurInstances } from './our-instances.js';
import {
  report,
  type BenchRun,
  type CapturesFound,
  type Found,
  type MailboxesFound,
  type RestartsFound,
  type RoundsFound,
} from './report.js';
import { judgeRestarts, measureRestarts, type RestartsResult } from './restarts.js';
import { measureRound, type RoundResult } from './round.js';

const resultsDirectory = fileURLToPath(new URL('../../../bench/results', import.meta.url));

/** Rounds of everything beside stock QEMU, for each size of memory. */
async function rounds(options: BenchOptions, bench: BenchDaemon, signal: AbortSignal): Promise<RoundsFound> {
  const { client, daemonPid, directory, machine, imageDirectory } = bench;
  const { accelerator } = machine;
  const kernel = await bench.kernelOfPeer();
  const found: RoundResult[] = [];
  for (const memoryMib of options.memory) {
    const peer = { accelerator, memoryMib, rootDisk: join(imageDirectory, 'rootfs.ext4'), kernel };
    const { forks } = options;
    found.push(await measureRound({ client, daemonPid, forks, peer, scratch: directory, onStep: tell, signal }));
  }
  tell('GetInstance');
  await new OurInstances(client).boot('asked', options.memory[0] ?? 512);
  const getInstance = await measureCallRate(client, 'asked');
  return {
    rounds: found,
    goals: judge(found, accelerator),
    getInstance,
    daemonResidentMib: residentMib(daemonPid),
  };
}

/** Captures of running VMs and generations of forks, for each size of memory. */
async function captures({ memory, forks }: BenchOptions, { client }: BenchDaemon): Promise<CapturesFound> {
  const found: CapturesResult[] = [];
  for (const memoryMib of memory) found.push(await measureCaptures({ client, forks, memoryMib, onStep: tell }));
  return { captures: found, goals: judgeCaptures(found) };
}

/** Searches for mailboxes, deliveries and indexes. */
async function mailboxes({ memory, forks }: BenchOptions, bench: BenchDaemon): Promise<MailboxesFound> {
  const { client, directory } = bench;
  const found = await measureMailboxes({ client, forks, memory, scratch: directory, onStep: tell });
  return { mailboxes: found, goals: judgeMailboxes(found) };
}

/** Restarts of the daemon with VMs that run, for each size of memory. */
async function restarts({ memory, forks }: BenchOptions, bench: BenchDaemon): Promise<RestartsFound> {
  const found: RestartsResult[] = [];
  for (const memoryMib of memory) found.push(await measureRestarts({ bench, forks, memoryMib, onStep: tell }));
  return { restarts: found, goals: judgeRestarts(found) };
}

function find(options: BenchOptions, bench: BenchDaemon, signal: AbortSignal): Promise<Found> {
  if (options.captures === true) return captures(options, bench);
  if (options.mailboxes === true) return mailboxes(options, bench);
  if (options.restarts === true) return restarts(options, bench);
  return rounds(options, bench, signal);
}

async function bench(options: BenchOptions, signal: AbortSignal): Promise<BenchRun & Found> {
  const startedAt = new Date().toISOString();
  await using daemon = await BenchDaemon.start(options.restarts === true, tell, signal);
  const { machine, image } = daemon;
  const found = await find(options, daemon, signal);
  return { version: packageVersion(), startedAt, machine, image, ...found };
}

function tell(step: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${step}`);
}

async function keep(result: BenchRun): Promise<string> {
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
  'Measures boots, captures, forks and mailboxes on this machine, beside the migration of stock QEMU.',
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
