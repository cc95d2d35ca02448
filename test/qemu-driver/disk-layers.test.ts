import { execFile } from 'node:child_process';
import { readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { isLayerName } from '../../host-agent/src/domain/layer-name.js';
import { QmpClient } from '../../host-agent/src/drivers/qemu/qmp-client.js';
import { CapturePaths } from '../../host-agent/src/paths.js';
import type { LaunchSpec, Vm } from '../../host-agent/src/ports/driver.js';
import { Qcow2Disks } from '../../host-agent/src/storage/qcow2-disks.js';
import { recordOf, sha256Of, targetIn } from '../bare-guest/capture-files.js';
import { consoleSays, ticksGoOn, ticksOf } from '../bare-guest/guest-control.js';
import { Lab, missingPrograms } from './lab.js';

const missing = await missingPrograms();
const run = promisify(execFile);
/** As a filesystem without reflinks has them. */
const disks = new Qcow2Disks(false);

describe.skipIf(missing !== '')(`QEMU driver: layers of a disk${missing && ` (skipped: ${missing})`}`, () => {
  let lab: Lab;
  let spec: LaunchSpec;
  let folder: CapturePaths;
  let vm: Vm;
  let count = 0;

  beforeAll(async () => {
    lab = await Lab.open();
  });
  beforeEach(async () => {
    spec = await lab.spec(`source${String(++count)}`);
    folder = new CapturePaths(spec.directory);
    vm = lab.keep(await lab.driver().launch(spec));
    await consoleSays(spec, 'armed\n');
  });
  afterEach(() => vm.kill());
  afterAll(() => lab[Symbol.asyncDispose]());

  /** As a daemon that has nothing to do with the one before. */
  async function nextDaemon(between: (qmp: QmpClient) => Promise<unknown> = () => Promise.resolve()): Promise<void> {
    await vm.detach();
    const qmp = await QmpClient.connect(join(spec.runDirectory, 'qmp.sock'));
    try {
      await between(qmp);
    } finally {
      qmp.close();
      vm = lab.keep((await lab.driver().adopt(vm.process, spec))!);
    }
  }

  /** Reads and writes as the guest's own disk does. */
  const ask = (...commands: string[]): Promise<void> =>
    nextDaemon(async (qmp) => {
      for (const command of commands) {
        const said = await qmp.run('human-monitor-command', {
          'command-line': `qemu-io -d /machine/peripheral-anon/device[0]/virtio-backend "${command}"`,
        });
        // Errors are in the answer; that a pattern is another one, qemu-io prints.
        expect(`${String(said)}${await readFile(join(spec.logDirectory, 'vmm.log'), 'utf8')}`, command).toBe('');
      }
    });
  const write = (pattern: number, at: string): Promise<void> => ask(`write -q -P ${String(pattern)} ${at} 1M`);
  const reads = (pattern: number, at: string): Promise<void> => ask(`read -q -P ${String(pattern)} ${at} 1M`);

  async function lay(): Promise<string> {
    const file = await disks.prepareLayer(folder);
    await vm.layDisk(file);
    await disks.settle(folder, await vm.diskFile());
    return file;
  }
  const layers = async (directory = spec.directory): Promise<string[]> =>
    (await readdir(directory)).filter(isLayerName).sort();
  const inode = async (path: string): Promise<number> => (await stat(path)).ino;
  /** Files of the disk from the top down, as QEMU finds them by itself. */
  async function chain(path = spec.disk.path): Promise<string[]> {
    const { stdout } = await run('qemu-img', ['info', '-U', '--backing-chain', '--output=json', path]);
    return (JSON.parse(stdout) as { filename: string }[]).map(({ filename }) => filename);
  }

  it('one takes all writes while the VM runs, and what lies below it changes no more', async () => {
    await write(0xa1, '0');
    await expect(reads(0xa2, '0')).rejects.toThrow(/verification failed/);
    await writeFile(join(spec.logDirectory, 'vmm.log'), '');
    const ticks = await ticksOf(vm);
    const file = await lay();
    expect(await vm.diskFile()).toBe(file);
    expect(await inode(file)).toBe(await inode(spec.disk.path));
    const [, below] = await chain();
    const before = await sha256Of(below!);
    await write(0xb2, '4M');
    await reads(0xa1, '0');
    expect(await sha256Of(below!)).toBe(before);
    expect(await chain()).toHaveLength(2);
    await ticksGoOn(vm, ticks);
    await vm.kill();
    await run('qemu-img', ['check', '-q', spec.disk.path]);
    await run('qemu-io', ['-c', 'read -P 0xa1 0 1M', '-c', 'read -P 0xb2 4M 1M', spec.disk.path]);
  });

  it('several lie on each other, and a clone shares them all with the running source', async () => {
    for (let layer = 1; layer <= 12; layer++) {
      await write(layer, `${String(layer)}M`);
      await lay();
    }
    expect(await layers()).toHaveLength(13);
    const cloneSpec = await lab.spec('clone');
    await rm(cloneSpec.disk.path);
    await vm.pause();
    const cost = await disks.clone(folder, new CapturePaths(cloneSpec.directory));
    await vm.resume();
    expect(cost).toMatchObject({ layers: 12, reflinked: false });
    expect(cost.copiedBytes).toBeLessThan(1024 * 1024);
    // Two VMs write on top of the same layers at the same time.
    const clone = lab.keep(await lab.driver().launch(cloneSpec));
    await write(0xee, '1M');
    await vm.kill();
    await rm(spec.directory, { recursive: true });
    await consoleSays(cloneSpec, 'armed\n');
    await clone.kill();
    const patterns = Array.from({ length: 12 }, (_, i) => ['-c', `read -P ${String(i + 1)} ${String(i + 1)}M 1M`]);
    const { stdout } = await run('qemu-io', [...patterns.flat(), cloneSpec.disk.path]);
    expect(stdout).not.toMatch(/verification failed/i);
    expect(stdout.match(/read 1048576\/1048576 bytes/g)).toHaveLength(12);
  });

  it('go over to the next VMM, which writes to a layer of its own', async () => {
    await write(0xa1, '0');
    await lay();
    await write(0xb2, '1M');
    await vm.pause();
    await lay(); // of a paused VM as well
    await vm.resume();
    await write(0xc3, '2M');
    const copy = new CapturePaths(join(lab.root, 'copy'));
    await run('mkdir', [copy.root]);
    const { replaced } = await vm.snapshot(targetIn(spec), {
      whilePaused: async () => {
        await disks.clone(folder, copy);
      },
    });
    expect(replaced).toBe(true);
    expect(await vm.diskFile()).toBe(spec.disk.path);
    for (const [pattern, at] of [
      [0xa1, '0'],
      [0xb2, '1M'],
      [0xc3, '2M'],
    ] as const)
      await reads(pattern, at);
    await write(0xd4, '3M');
    await lay();
    await write(0xe5, '4M');
    await vm.kill();
    await run('qemu-img', ['check', '-q', spec.disk.path]);
    const all = ['0xa1 0', '0xb2 1M', '0xc3 2M', '0xd4 3M', '0xe5 4M'];
    await readsOf(spec.disk.path, ...all);
    await readsOf(copy.disk('qcow2'), ...all.slice(0, 3), '0 3M', '0 4M');
  });

  it('belong to a capture, from which the VM is restored and laid again', async () => {
    await write(0xa1, '0');
    await lay();
    await write(0xb2, '1M');
    const result = await vm.capture(targetIn(spec));
    await vm.kill();
    const { vm: restored } = await lab
      .driver()
      .restore({ ...spec, capture: await recordOf(result), stateFile: result.stateFile });
    vm = lab.keep(restored);
    await vm.resume();
    expect(await vm.diskFile()).toBe(spec.disk.path);
    await lay();
    await write(0xc3, '2M');
    expect(await layers()).toHaveLength(3);
    await vm.kill();
    await readsOf(spec.disk.path, '0xa1 0', '0xb2 1M', '0xc3 2M');
  });

  /** What a daemon may have come to when it is killed, and whether the layer is there in the end. */
  const STEPS: readonly [string, (qmp: QmpClient, file: string) => Promise<unknown>, 'undone' | 'finished'][] = [
    ['the new file is made', () => Promise.resolve(), 'undone'],
    ['the VMM has opened it', (qmp, file) => qmp.run('blockdev-add', node(file)), 'undone'],
    [
      'the VMM writes to it',
      async (qmp, file) => {
        await qmp.run('blockdev-add', node(file));
        await qmp.run('blockdev-snapshot', { node: 'disk', overlay: node(file)['node-name'] });
      },
      'finished',
    ],
  ];
  const node = (file: string) => ({
    driver: 'qcow2',
    'node-name': /layer-[0-9a-f]+/.exec(file)![0],
    file: { driver: 'file', filename: file },
    backing: null,
  });

  describe.each(STEPS)('a daemon killed after %s', (_, step, end) => {
    beforeEach(async () => {
      await write(0xa1, '0');
      const file = await disks.prepareLayer(folder);
      await nextDaemon((qmp) => step(qmp, file));
    });

    it(`leaves what the next one finds ${end}, and goes on from`, async () => {
      await disks.settle(folder, await vm.diskFile());
      expect(await layers()).toHaveLength(end === 'finished' ? 2 : 0);
      expect(await chain()).toHaveLength(end === 'finished' ? 2 : 1);
      await write(0xb2, '1M');
      await lay();
      await write(0xc3, '2M');
      await vm.kill();
      await readsOf(spec.disk.path, '0xa1 0', '0xb2 1M', '0xc3 2M');
    });

    it('and a VMM that ends too leave a disk with everything in it', async () => {
      await write(0xb2, '1M');
      await vm.kill();
      await disks.settle(folder);
      await disks.settle(folder);
      await run('qemu-img', ['check', '-q', spec.disk.path]);
      await readsOf(spec.disk.path, '0xa1 0', '0xb2 1M');
      expect((await readdir(spec.directory)).filter((name) => name.endsWith('.tmp'))).toEqual([]);
      expect(await layers()).toHaveLength(1);
    });
  });

  it('one that was cancelled is there or not, as the VMM says', async () => {
    await write(0xa1, '0');
    for (const afterMs of [0, 1, 2, 5]) {
      const file = await disks.prepareLayer(folder);
      await vm.layDisk(file, AbortSignal.timeout(afterMs)).catch(() => undefined);
      await disks.settle(folder, await vm.diskFile());
      expect(await inode(await vm.diskFile())).toBe(await inode(spec.disk.path));
    }
    await write(0xb2, '1M');
    await lay();
    await vm.kill();
    await readsOf(spec.disk.path, '0xa1 0', '0xb2 1M');
  });

  it('one that cannot be made leaves the disk as it was', async () => {
    await expect(vm.layDisk(folder.layer('layer-0123456789abcdef.qcow2'))).rejects.toThrow(
      /blockdev-add.*No such file/,
    );
    const file = await disks.prepareLayer(folder);
    await writeFile(file, 'no disk');
    await expect(vm.layDisk(file)).rejects.toThrow(/QEMU refused blockdev-add/);
    await disks.settle(folder, await vm.diskFile());
    expect(await layers()).toEqual([]);
    await write(0xa1, '0');
    await lay();
    await reads(0xa1, '0');
  });
});

/** Checks with `qemu-io` that a disk reads as `PATTERN OFFSET`, a MiB each. */
async function readsOf(disk: string, ...patterns: string[]): Promise<void> {
  const { stdout } = await run('qemu-io', [...patterns.flatMap((pattern) => ['-c', `read -P ${pattern} 1M`]), disk]);
  expect(stdout).not.toMatch(/verification failed/i);
  expect(stdout.match(/read 1048576\/1048576 bytes/g)).toHaveLength(patterns.length);
}
