import { once } from 'node:events';
import { on } from 'node:events';
import { watch } from 'node:fs';
import { mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Unsupported, type OffshootError } from '@offshoot/shared/errors.js';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { processesIn } from '../../os/proc-orphans.js';
import type { CaptureResult, LaunchSpec, RestoreSpec, Vm } from '../../ports/driver.js';
import { FirecrackerDriver } from './firecracker-driver.js';
import { makeDoubleProgram } from './testing/double-program.js';
import type { Misbehaviour } from './testing/double-server.js';

const MIB = 1024 * 1024;

describe('The Firecracker driver, against the double', () => {
  let root: string;
  let binary: string;
  let count = 0;
  const vms: Vm[] = [];
  let shared: FirecrackerDriver;
  const driver = (): FirecrackerDriver => shared;

  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'f, '));
    binary = await makeDoubleProgram(root);
    await writeFile(join(root, 'kernel'), '');
    shared = new FirecrackerDriver({ binary, kvm: join(root, 'kernel'), logger: pino({ level: 'silent' }) });
  });
  afterEach(async () => {
    for (const vm of vms.splice(0)) await vm.kill();
  });
  afterAll(() => rm(root, { recursive: true }));

  async function specOf(misbehaviour?: Misbehaviour): Promise<LaunchSpec> {
    const directory = join(root, `vm${String(++count)}`);
    const spec: LaunchSpec = {
      directory,
      runDirectory: join(directory, 'run'),
      logDirectory: join(directory, 'logs'),
      vcpus: 1,
      memoryBytes: 64 * MIB,
      memoryFile: join(directory, 'memory'),
      disk: { path: join(directory, 'disk.raw'), format: 'raw' },
      nic: { mac: '52:54:00:12:34:56', backend: { kind: 'none' } },
      kernel: { vmlinuz: join(root, 'bzimage'), vmlinux: join(root, 'kernel'), commandLine: 'a=b' },
    };
    await mkdir(spec.runDirectory, { recursive: true });
    await mkdir(spec.logDirectory);
    await writeFile(spec.disk.path, '');
    if (misbehaviour !== undefined) await writeFile(join(directory, 'misbehaviour.json'), JSON.stringify(misbehaviour));
    return spec;
  }

  const launch = async (spec: LaunchSpec): Promise<Vm> => {
    const vm = await driver().launch(spec);
    vms.push(vm);
    return vm;
  };
  const target = ({ directory }: { directory: string }) => ({
    stateFile: join(directory, 'device-state'),
    memoryFile: join(directory, 'memory.next'),
  });

  async function forkSpec(result: CaptureResult, misbehaviour?: Misbehaviour): Promise<RestoreSpec> {
    const { size, mtimeNs, ino } = await stat(result.memoryFile, { bigint: true });
    const { stateFile, memoryFile, stateSha256, regions, driverVersion, machineType, cpuModel, accelerator } = result;
    return {
      ...(await specOf(misbehaviour)),
      stateFile,
      memoryFile,
      capture: {
        ...{
          takenAt: '',
          stateFile: 'device-state',
          memoryFile: 'memory',
          stateSha256,
          regions,
          driver: 'firecracker',
        },
        ...{ driverVersion, machineType, cpuModel, accelerator, networkMode: 'tap', registeredMailboxes: [] },
        memoryStamp: { size: Number(size), mtimeNs: String(mtimeNs), inode: String(ino) },
        workloadLogOffset: 0,
      },
    };
  }
  let base: Promise<CaptureResult> | undefined;
  const baseResult = (): Promise<CaptureResult> =>
    (base ??= (async () => {
      const spec = await specOf();
      const vm = await driver().launch(spec);
      const result = await vm.capture(target(spec));
      await vm.kill();
      return result;
    })());

  const leftIn = async (spec: LaunchSpec | RestoreSpec): Promise<unknown> => ({
    processes: await processesIn(spec.directory),
    sockets: await readdir(spec.runDirectory),
  });
  const nothing = { processes: [], sockets: [] };

  it('boots, pauses, captures and loads a VM, in an order Firecracker takes', async () => {
    const spec = await specOf();
    const vm = await launch(spec);
    expect(await readFile(join(spec.logDirectory, 'console.log'), 'utf8')).toBe('booted\n');
    expect(await vm.state()).toBe('running');
    await vm.pause();
    expect(await vm.state()).toBe('paused');
    await vm.resume();
    const { capture, replaced } = await vm.snapshot(target(spec));
    expect(replaced).toBe(false);
    expect(await vm.state()).toBe('running');
    expect((await stat(capture.memoryFile)).size).toBe(spec.memoryBytes);
    const fork = await driver().restore(await forkSpec(capture));
    vms.push(fork.vm);
    expect(await fork.vm.state()).toBe('paused');
    expect(fork.timings.loadMs).toBeGreaterThan(0);
  });

  it('takes a VM over by its API', async () => {
    const spec = await specOf();
    const vm = await driver().launch(spec);
    await vm.detach();
    const adopted = (await driver().adopt(vm.process, spec))!;
    expect(await adopted.state()).toBe('running');
    await adopted.kill();
    expect(await adopted.exited).toMatchObject({ code: null });
    expect(await leftIn(spec)).toEqual(nothing);
  });

  it('refuses what Firecracker has not, before anything is started', async () => {
    const spec = await specOf();
    const qcow2 = { ...spec, disk: { ...spec.disk, format: 'qcow2' as const } };
    await expect(driver().launch(qcow2)).rejects.toThrow(/has raw disks only, .* is qcow2/);
    const user = { kind: 'user', subnet: '10.0.0.0/24', gateway: '10.0.0.1' } as const;
    await expect(driver().launch({ ...spec, nic: { ...spec.nic, backend: user } })).rejects.toMatchObject({
      kind: 'Unsupported',
      metadata: { capability: 'userNetwork' },
    });
    const elsewhere = { ...spec, disk: { ...spec.disk, path: join(root, 'disk.raw') } };
    await expect(driver().launch(elsewhere)).rejects.toThrow(/must lie in the instance's folder/);
    expect(await leftIn(spec)).toEqual(nothing);
    expect(await readdir(spec.directory)).not.toContain('memory');
  });

  it('asks for the channel, where nobody listens here, one at a time', async () => {
    const spec = await specOf();
    const vm = await launch(spec);
    const first = await vm.dialGuest();
    await expect(vm.dialGuest()).rejects.toMatchObject({ kind: 'Conflict', reason: 'CHANNEL_IN_USE' });
    const [error] = (await once(first, 'error')) as [Error];
    expect(error).toMatchObject({ kind: 'Unreachable', reason: 'CHANNEL_UNREACHABLE' });
    (await vm.dialGuest()).on('error', () => undefined).destroy();
    await expect(vm.layDisk('x')).rejects.toThrow(Unsupported);
    await expect(vm.changeBacking('x')).rejects.toThrow(Unsupported);
  });

  const BOOT_CALLS = [
    'PUT /serial',
    'PUT /machine-config',
    'PUT /boot-source',
    'PUT /drives/disk',
    'PUT /vsock',
    'PUT /entropy',
    'PUT /actions',
  ];
  const LOAD_CALLS = ['PUT /serial', 'PUT /snapshot/load'];
  const EXPECTED = {
    'hangs up': { kind: 'Unreachable', reason: 'VMM_DIED_AT_START' },
    dies: { kind: 'Unreachable', reason: 'VMM_DIED_AT_START' },
    'talks nonsense': { kind: 'Corrupt', reason: 'API_MALFORMED' },
  } as const;

  describe.each(['hangs up', 'dies', 'talks nonsense'] as const)('a VMM that %s', (how) => {
    it.each(BOOT_CALLS)('at %s of a boot is an error, and leaves nothing', async (at) => {
      const spec = await specOf({ at, how });
      const failure = (await driver()
        .launch(spec)
        .catch((error: unknown) => error)) as OffshootError;
      expect(failure).toMatchObject(EXPECTED[how]);
      expect(await leftIn(spec)).toEqual(nothing);
    });

    it.each(LOAD_CALLS)('at %s of a load is an error, and leaves nothing', async (at) => {
      const spec = await forkSpec(await baseResult(), { at, how });
      const failure = (await driver()
        .restore(spec)
        .catch((error: unknown) => error)) as OffshootError;
      expect(failure).toMatchObject(EXPECTED[how]);
      expect(await leftIn(spec)).toEqual(nothing);
    });

    it('at a snapshot is an error, after which the VM goes on unless it is gone', async () => {
      const spec = await specOf({ at: 'PUT /snapshot/create', how });
      const vm = await launch(spec);
      const files = await readdir(spec.directory);
      await expect(vm.snapshot(target(spec))).rejects.toMatchObject({ kind: EXPECTED[how].kind });
      expect(await readdir(spec.directory)).toEqual(files);
      if (how === 'dies') expect(await vm.exited).toMatchObject({ signal: 'SIGKILL' });
      else expect(await vm.state()).toBe('running');
    });
  });

  describe('a VMM that hangs', () => {
    it.each([...BOOT_CALLS, 'PUT /snapshot/load'])('at %s can be given up, and leaves nothing', async (at) => {
      const load = at === 'PUT /snapshot/load';
      const misbehaviour = { at, how: 'hangs' } as const;
      const spec = load ? await forkSpec(await baseResult(), misbehaviour) : await specOf(misbehaviour);
      const cancel = new AbortController();
      const failing = load
        ? driver().restore(spec as RestoreSpec, cancel.signal)
        : driver().launch(spec as LaunchSpec, cancel.signal);
      failing.catch(() => undefined);
      await heard(spec);
      cancel.abort(new Error('no longer wanted'));
      await expect(failing).rejects.toThrow('no longer wanted');
      expect(await leftIn(spec)).toEqual(nothing);
    });

    it('at a snapshot can be given up, after which the VM goes on', async () => {
      const spec = await specOf({ at: 'PUT /snapshot/create', how: 'hangs' });
      const vm = await launch(spec);
      const files = await readdir(spec.directory);
      const cancel = new AbortController();
      const onReached = (): void => {
        cancel.abort(new Error('no longer wanted'));
      };
      await expect(vm.snapshot(target(spec), { onReached }, cancel.signal)).rejects.toThrow('no longer wanted');
      expect(await vm.state()).toBe('running');
      expect(await readdir(spec.directory)).toEqual(files);
    });
  });

  /** Waits until the VMM has said that it listens: what comes next it never answers, or not yet. */
  async function heard({ logDirectory }: { logDirectory: string }): Promise<void> {
    using watcher = new LogWatch(logDirectory);
    while (!(await readFile(join(logDirectory, 'vmm.log'), 'utf8').catch(() => '')).includes('listens'))
      await watcher.changed();
  }
});

/** Told of every change in a folder, also of one between two waits. */
class LogWatch implements Disposable {
  private readonly watcher;
  private readonly changes: AsyncIterator<unknown>;

  constructor(directory: string) {
    this.watcher = watch(directory);
    this.changes = on(this.watcher, 'change');
  }

  async changed(): Promise<void> {
    await this.changes.next();
  }

  [Symbol.dispose](): void {
    this.watcher.close();
  }
}
