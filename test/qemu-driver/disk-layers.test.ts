import { execFile } from 'node:child_process';
import { readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { QmpClient } from '../../host-agent/src/drivers/qemu/qmp-client.js';
import { CapturePaths } from '../../host-agent/src/paths.js';
import { recordOf, sha256Of, targetIn } from '../bare-guest/capture-files.js';
import { consoleSays, ticksGoOn, ticksOf } from '../bare-guest/guest-control.js';
import { Lab, missingPrograms } from './lab.js';
import { LayeredVm, disks, readsOf } from './layered-vm.js';

const missing = await missingPrograms();
const run = promisify(execFile);

describe.skipIf(missing !== '')(`QEMU driver: layers of a disk${missing && ` (skipped: ${missing})`}`, () => {
  let lab: Lab;
  let source: LayeredVm;
  let count = 0;

  beforeAll(async () => {
    lab = await Lab.open();
  });
  beforeEach(async () => {
    source = await LayeredVm.launch(lab, `source${String(++count)}`);
  });
  afterEach(() => source.vm.kill());
  afterAll(() => lab[Symbol.asyncDispose]());

  const inode = async (path: string): Promise<number> => (await stat(path)).ino;

  it('one takes all writes while the VM runs, and what lies below it changes no more', async () => {
    await source.write(0xa1, '0');
    await expect(source.reads(0xa2, '0')).rejects.toThrow(/verification failed/);
    await writeFile(join(source.spec.logDirectory, 'vmm.log'), '');
    const ticks = await ticksOf(source.vm);
    const file = await source.lay();
    expect(await source.vm.diskFile()).toBe(file);
    expect(await inode(file)).toBe(await inode(source.spec.disk.path));
    const [, below] = await source.chain();
    const before = await sha256Of(below!);
    await source.write(0xb2, '4M');
    await source.reads(0xa1, '0');
    expect(await sha256Of(below!)).toBe(before);
    expect(await source.chain()).toHaveLength(2);
    await ticksGoOn(source.vm, ticks);
    await source.vm.kill();
    await run('qemu-img', ['check', '-q', source.spec.disk.path]);
    await run('qemu-io', ['-c', 'read -P 0xa1 0 1M', '-c', 'read -P 0xb2 4M 1M', source.spec.disk.path]);
  });

  it('several lie on each other, and a clone shares them all with the running source', async () => {
    for (let layer = 1; layer <= 12; layer++) {
      await source.write(layer, `${String(layer)}M`);
      await source.lay();
    }
    expect(await source.layers()).toHaveLength(13);
    const cloneSpec = await lab.spec('clone');
    await rm(cloneSpec.disk.path);
    await source.vm.pause();
    const cost = await disks.clone(source.folder, new CapturePaths(cloneSpec.directory));
    await source.vm.resume();
    expect(cost).toMatchObject({ layers: 12, reflinked: false });
    expect(cost.copiedBytes).toBeLessThan(1024 * 1024);
    // Two VMs write on top of the same layers at the same time.
    const clone = lab.keep(await lab.driver().launch(cloneSpec));
    await source.write(0xee, '1M');
    await source.vm.kill();
    await rm(source.spec.directory, { recursive: true });
    await consoleSays(cloneSpec, 'armed\n');
    await clone.kill();
    const patterns = Array.from({ length: 12 }, (_, i) => ['-c', `read -P ${String(i + 1)} ${String(i + 1)}M 1M`]);
    const { stdout } = await run('qemu-io', [...patterns.flat(), cloneSpec.disk.path]);
    expect(stdout).not.toMatch(/verification failed/i);
    expect(stdout.match(/read 1048576\/1048576 bytes/g)).toHaveLength(12);
  });

  it('go over to the next VMM, which writes to a layer of its own', async () => {
    await source.write(0xa1, '0');
    await source.lay();
    await source.write(0xb2, '1M');
    await source.vm.pause();
    await source.lay(); // of a paused VM as well
    await source.vm.resume();
    await source.write(0xc3, '2M');
    const copy = new CapturePaths(join(lab.root, 'copy'));
    await run('mkdir', [copy.root]);
    const { replaced } = await source.vm.snapshot(targetIn(source.spec), {
      whilePaused: async () => {
        await disks.clone(source.folder, copy);
      },
    });
    expect(replaced).toBe(true);
    expect(await source.vm.diskFile()).toBe(source.spec.disk.path);
    for (const [pattern, at] of [
      [0xa1, '0'],
      [0xb2, '1M'],
      [0xc3, '2M'],
    ] as const)
      await source.reads(pattern, at);
    await source.write(0xd4, '3M');
    await source.lay();
    await source.write(0xe5, '4M');
    await source.vm.kill();
    await run('qemu-img', ['check', '-q', source.spec.disk.path]);
    const all = ['0xa1 0', '0xb2 1M', '0xc3 2M', '0xd4 3M', '0xe5 4M'];
    await readsOf(source.spec.disk.path, ...all);
    await readsOf(copy.disk('qcow2'), ...all.slice(0, 3), '0 3M', '0 4M');
  });

  it('belong to a capture, from which the VM is restored and laid again', async () => {
    await source.write(0xa1, '0');
    await source.lay();
    await source.write(0xb2, '1M');
    const result = await source.vm.capture(targetIn(source.spec));
    await source.vm.kill();
    const { vm: restored } = await lab
      .driver()
      .restore({ ...source.spec, capture: await recordOf(result), stateFile: result.stateFile });
    source.vm = lab.keep(restored);
    await source.vm.resume();
    expect(await source.vm.diskFile()).toBe(source.spec.disk.path);
    await source.lay();
    await source.write(0xc3, '2M');
    expect(await source.layers()).toHaveLength(3);
    await source.vm.kill();
    await readsOf(source.spec.disk.path, '0xa1 0', '0xb2 1M', '0xc3 2M');
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
      await source.write(0xa1, '0');
      const file = await disks.prepareLayer(source.folder);
      await source.nextDaemon((qmp) => step(qmp, file));
    });

    it(`leaves what the next one finds ${end}, and goes on from`, async () => {
      await disks.settle(source.folder, await source.vm.diskFile());
      expect(await source.layers()).toHaveLength(end === 'finished' ? 2 : 0);
      expect(await source.chain()).toHaveLength(end === 'finished' ? 2 : 1);
      await source.write(0xb2, '1M');
      await source.lay();
      await source.write(0xc3, '2M');
      await source.vm.kill();
      await readsOf(source.spec.disk.path, '0xa1 0', '0xb2 1M', '0xc3 2M');
    });

    it('and a VMM that ends too leave a disk with everything in it', async () => {
      await source.write(0xb2, '1M');
      await source.vm.kill();
      await disks.settle(source.folder);
      await disks.settle(source.folder);
      await run('qemu-img', ['check', '-q', source.spec.disk.path]);
      await readsOf(source.spec.disk.path, '0xa1 0', '0xb2 1M');
      expect((await readdir(source.spec.directory)).filter((name) => name.endsWith('.tmp'))).toEqual([]);
      expect(await source.layers()).toHaveLength(1);
    });
  });

  it('one that was cancelled is there or not, as the VMM says', async () => {
    await source.write(0xa1, '0');
    for (const afterMs of [0, 1, 2, 5]) {
      const file = await disks.prepareLayer(source.folder);
      await source.vm.layDisk(file, AbortSignal.timeout(afterMs)).catch(() => undefined);
      await disks.settle(source.folder, await source.vm.diskFile());
      expect(await inode(await source.vm.diskFile())).toBe(await inode(source.spec.disk.path));
    }
    await source.write(0xb2, '1M');
    await source.lay();
    await source.vm.kill();
    await readsOf(source.spec.disk.path, '0xa1 0', '0xb2 1M');
  });

  it('one that cannot be made leaves the disk as it was', async () => {
    await expect(source.vm.layDisk(source.folder.layer('layer-0123456789abcdef.qcow2'))).rejects.toThrow(
      /blockdev-add.*No such file/,
    );
    const file = await disks.prepareLayer(source.folder);
    await writeFile(file, 'no disk');
    await expect(source.vm.layDisk(file)).rejects.toThrow(/QEMU refused blockdev-add/);
    await disks.settle(source.folder, await source.vm.diskFile());
    expect(await source.layers()).toEqual([]);
    await source.write(0xa1, '0');
    await source.lay();
    await source.reads(0xa1, '0');
  });
});
