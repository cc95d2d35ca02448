import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { messageOf } from '@offshoot/shared/errors.js';
import { buildDefaultImage } from '@offshoot/host-agent/demo/default-image.js';
import { REPOSITORY } from './lab-definition.js';
import { modulesDisk, runDisk } from './lab-disks.js';
import { runLabHost, type LabResult } from './lab-host.js';
import { labSystem } from './lab-system.js';
import { ADMINISTRATORS_PATH, missingForLab } from './prerequisites.js';

/** What runs inside when nothing is named: every driver that has KVM there, and ZFS. */
const TESTS = [
  'test/lab/inside',
  'test/conformance',
  'test/cloud-hypervisor',
  'test/firecracker-driver',
  'test/storage',
];

/** Boot, tests and all; on a processor of its own it takes some 80. */
const LIMIT_MINUTES = Number(process.env.OFFSHOOT_LAB_MINUTES ?? '150');

const cache = join(REPOSITORY, '.cache/lab');
const started = performance.now();
const say = (step: string): void => {
  console.log(`lab: ${((performance.now() - started) / 1000).toFixed(1)} s: ${step}`);
};

/** Makes what is not there yet, and runs the tests in it. @param folder of this run */
async function runTests(tests: readonly string[], folder: string, signal: AbortSignal): Promise<LabResult> {
  const images = join(REPOSITORY, '.cache/images');
  const image = await buildDefaultImage(images, say, signal);
  const system = await labSystem(cache, say, signal);
  const modules = await modulesDisk(cache, say, signal);
  const run = await runDisk(folder, { tests, image: join(images, image.id) }, signal);
  say('booting');
  const log = join(cache, 'console.log');
  const result = await runLabHost(system, { run, modules }, folder, log, signal);
  say(`off${signal.aborted ? `, ended by ${messageOf(signal.reason)}` : ''}; its console is in ${log}`);
  return result;
}

// `make test-lab`: the tests named on the command line, in a machine where KVM, vhost-vsock, TAP and nftables are real.
process.env.PATH = ADMINISTRATORS_PATH;
const missing = await missingForLab();
if (missing !== '') {
  console.log(`- lab host (skipped: ${missing})\n0 passed, 0 failed, 1 skipped`);
} else {
  const named = process.argv.slice(2);
  const stopped = new AbortController();
  // Not `once`: without a listener left, execa's own would end this process before it has cleaned up.
  for (const name of ['SIGINT', 'SIGTERM'] as const)
    process.on(name, () => {
      stopped.abort(new Error(name));
    });
  const signal = AbortSignal.any([stopped.signal, AbortSignal.timeout(LIMIT_MINUTES * 60_000)]);
  await mkdir(cache, { recursive: true });
  const folder = await mkdtemp(join(cache, 'run-'));
  try {
    let result: LabResult = { status: undefined, report: '' };
    try {
      result = await runTests(named.length > 0 ? named : TESTS, folder, signal);
    } catch (error) {
      say(messageOf(error));
    }
    const summary = [join(REPOSITORY, 'scripts/summary.mjs'), result.report, String(result.status ?? 'none')];
    const { exitCode } = await execa('node', summary, { stdio: 'inherit', reject: false });
    process.exitCode = exitCode ?? 1;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
