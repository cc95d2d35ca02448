import { mkdir, mkdtemp, open, readFile, readdir, realpath, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { DRIVER_CAPABILITIES } from '../../domain/driver-capabilities.js';
import type { Capture } from '../../domain/instance.js';
import { processEnded } from '../../os/process-identity.js';
import type { CaptureResult, LaunchSpec, RestoreSpec, Vm } from '../../ports/driver.js';
import { CloudHypervisorDriver } from './cloud-hypervisor-driver.js';
import { makeDoubleProgram } from './testing/double-program.js';

const MIB = 1024 * 1024;

/** Against a double: the same driver against the real one is tried by test/conformance, where that can be captured. */
describe('the driver for Cloud Hypervisor', () => {
  let root: string;
  let binary: string;
  let count = 0;
  const vms: Vm[] = [];
  beforeAll(async () => {
    root = await realpath(await mkdtemp(join(tmpdir(), 'ch, ')));
    binary = await makeDoubleProgram(root);
  });
  afterEach(async () => {
    for (const vm of vms.splice(0)) await vm.kill();
  });
  afterAll(() => rm(root, { recursive: true }));

  const driver = (program = binary, scratchDirectory = root): CloudHypervisorDriver =>
    new CloudHypervisorDriver({
      binary: program,
      kvm: '/dev/null',
      logger: pino({ level: 'silent' }),
      scratchDirectory,
    });
  const keep = <T extends Vm>(vm: T): T => {
    vms.push(vm);
    return vm;
  };

  async function newSpec(): Promise<LaunchSpec> {
    const directory = join(root, `i${String(++count)}`);
    const spec: LaunchSpec = {
      directory,
      runDirectory: join(directory, 'run'),
      logDirectory: join(directory, 'logs'),
      vcpus: 1,
      memoryBytes: 64 * MIB,
      memoryFile: join(directory, 'memory'),
      disk: { path: join(directory, 'disk.raw'), format: 'raw' },
      nic: { mac: '', backend: { kind: 'none' } },
      kernel: { vmlinuz: '/none', vmlinux: binary, commandLine: '-a "b", c' },
    };
    await mkdir(spec.runDirectory, { recursive: true });
    await mkdir(spec.logDirectory);
    await writeFile(spec.disk.path, '');
    return spec;
  }
  const target = ({ directory }: { directory: string }) => ({
    stateFile: join(directory, 'state'),
    memoryFile: join(directory, 'memory.next'),
  });
  async function forkOf({ memoryFile, stateFile, ...result }: CaptureResult): Promise<RestoreSpec> {
    const { size, mtimeNs, ino } = await stat(memoryFile, { bigint: true });
    const memoryStamp = { size: Number(size), mtimeNs: String(mtimeNs), inode: String(ino) };
    const capture = { ...result, driver: 'cloud-hypervisor', memoryStamp } as unknown as Capture;
    return { ...(await newSpec()), memoryFile, stateFile, capture };
  }

  it('finds what it can do by trying, once', async () => {
    const scratch = await mkdtemp(join(root, 'probe-'));
    const status = await driver(binary, scratch).probe();
    expect(status).toMatchObject({ available: true, version: '54.0', accelerator: 'kvm' });
    expect(status.capabilities).toEqual(DRIVER_CAPABILITIES['cloud-hypervisor']);
    expect(status).not.toHaveProperty('capabilityReason');
    expect(await readdir(scratch)).toEqual(['cloud-hypervisor-probe.json']);
    const answer = JSON.parse(await readFile(join(scratch, 'cloud-hypervisor-probe.json'), 'utf8')) as object;
    await writeFile(join(scratch, 'cloud-hypervisor-probe.json'), JSON.stringify({ ...answer, reason: 'remembered' }));
    expect((await driver(binary, scratch).probe()).capabilityReason).toBe('remembered');
  });

  it('runs VMs where they cannot be captured, says why, and touches none that is to be', async () => {
    const without = driver(await makeDoubleProgram(root, { snapshots: false }), await mkdtemp(join(root, 'probe-')));
    const { available, capabilities, capabilityReason } = await without.probe();
    expect(available).toBe(true);
    expect(capabilities).toMatchObject({
      snapshot: false,
      fork: false,
      forkRunning: false,
      mailbox: false,
      vsock: true,
    });
    expect(capabilityReason).toMatch(/nested virtualization.*GetNestedState/);
    const spec = await newSpec();
    const vm = keep(await without.launch(spec));
    for (const captured of [vm.capture(target(spec)), vm.snapshot(target(spec))])
      await expect(captured).rejects.toMatchObject({ kind: 'Unsupported', reason: 'CAPTURE_UNSUPPORTED' });
    expect(await vm.state()).toBe('running');
  });

  it('boots, captures and loads, with every file in the folder of its own instance', async () => {
    const spec = await newSpec();
    const vm = keep(await driver().launch(spec));
    expect(await readdir(spec.runDirectory)).toEqual(['api.sock', 'events', 'serial.sock', 'vsock']);
    const captured = await vm.capture(target(spec));
    expect(await vm.state()).toBe('paused');
    expect(captured).toMatchObject({
      memoryFile: spec.memoryFile,
      driverVersion: '54.0',
      machineType: 'cloud-hypervisor-pci',
    });
    await vm.kill();
    expect(await readdir(spec.runDirectory)).toEqual([]);

    const forkSpec = await forkOf(captured);
    const { vm: fork, timings } = await driver().restore(forkSpec);
    keep(fork);
    expect(timings.loadMs).toBeGreaterThan(0);
    expect(await fork.state()).toBe('paused');
    expect(await readdir(forkSpec.runDirectory)).toEqual(['api.sock', 'events', 'serial.sock', 'vsock']);
    await fork.resume();
    await fork.resume();
    expect(await fork.state()).toBe('running');
    // The double maps no memory: what fails then leaves the VM running, and nothing else.
    const before = await readdir(forkSpec.directory);
    await expect(fork.capture(target(forkSpec))).rejects.toMatchObject({ reason: 'MEMORY_NOT_MAPPED' });
    expect(await fork.state()).toBe('running');
    expect(await readdir(forkSpec.directory)).toEqual(before);
  });

  it('copies the memory of a VM booted cold that goes on, in the instant of its capture', async () => {
    const spec = await newSpec();
    const vm = keep(await driver().launch(spec));
    {
      await using memory = await open(spec.memoryFile, 'r+');
      await memory.write('as it was', 8 * MIB);
    }
    const { capture, replaced } = await vm.snapshot(target(spec), {
      whilePaused: async () => {
        expect(await vm.state()).toBe('paused');
      },
    });
    expect(replaced).toBe(false);
    expect(await vm.state()).toBe('running');
    expect(capture.memoryFile).toBe(target(spec).memoryFile);
    expect((await stat(capture.memoryFile)).blocks * 512).toBeLessThan(MIB);
    expect((await readFile(capture.memoryFile)).equals(await readFile(spec.memoryFile))).toBe(true);
  });

  it.each([
    ['SIGHUP', 'powered-off'],
    ['SIGUSR2', 'reset'],
    ['SIGTERM', 'told-to'],
  ] as const)('says why a VM ended: %s, %s', async (signal, cause) => {
    const spec = await newSpec();
    const vm = keep(await driver().launch(spec));
    process.kill(vm.process.pid, signal);
    expect(await vm.exited).toMatchObject({ code: 0, signal: null, cause });
    await vm.kill();
    expect(await readdir(spec.runDirectory)).toEqual([]);
  });

  it('takes a VM over, and hears what became of one meanwhile', async () => {
    const spec = await newSpec();
    const launched = await driver().launch(spec);
    await launched.detach();
    const adopted = await driver().adopt(launched.process, spec);
    expect(await adopted?.state()).toBe('running');
    await adopted?.detach();
    process.kill(launched.process.pid, 'SIGHUP');
    const again = await driver().adopt(launched.process, spec);
    expect(await again?.exited).toMatchObject({ code: 0, signal: null, cause: 'powered-off' });
    await again?.kill();
    await processEnded(launched.process);
    expect(await driver().adopt(launched.process, spec)).toBeUndefined();
    expect(await readdir(spec.runDirectory)).toEqual([]);
  });

  it('quotes the VMM that will not start, and leaves no memory file', async () => {
    const spec = await newSpec();
    await rm(spec.disk.path);
    await expect(driver().launch(spec)).rejects.toMatchObject({
      reason: 'VMM_DIED_AT_START',
      message: expect.stringContaining('disk.raw: No such file or directory') as string,
    });
    await expect(stat(spec.memoryFile)).rejects.toThrow('ENOENT');
    expect(await readdir(spec.runDirectory)).toEqual([]);
    await writeFile(spec.memoryFile, 'of another guest');
    await expect(driver().launch(spec)).rejects.toMatchObject({ reason: 'MEMORY_FILE_EXISTS' });
  });
});
