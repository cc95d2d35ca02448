import { readdir, readlink, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { execa } from 'execa';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { QmpClient } from '../../host-agent/src/drivers/qemu/qmp-client.js';
import { CapturePaths } from '../../host-agent/src/paths.js';
import { MOST_LAYERS } from '../../host-agent/src/storage/layer-policy.js';
import { createOverlay } from '../../host-agent/src/storage/qcow2-overlay.js';
import { sha256Of, targetIn } from '../bare-guest/capture-files.js';
import { ticksGoOn, ticksOf } from '../bare-guest/guest-control.js';
import { Lab, missingPrograms } from './lab.js';
import { LayeredVm, disks, readsOf } from './layered-vm.js';

const missing = await missingPrograms();
const MIB = 2 ** 20;
const never = (): Promise<void> => Promise.resolve();

describe.skipIf(missing !== '')(`QEMU driver: merged layers of a disk${missing && ` (skipped: ${missing})`}`, () => {
  let lab: Lab;
  let source: LayeredVm;
  let count = 0;
  /** What the disk reads as, `PATTERN OFFSET`, a MiB each. */
  let content: string[];

  beforeAll(async () => {
    lab = await Lab.open();
    await writeFile(join(lab.root, 'image'), Buffer.alloc(64 * MIB, 0x11));
  });
  afterAll(() => lab[Symbol.asyncDispose]());
  beforeEach(async () => {
    source = await LayeredVm.launch(lab, `source${String(++count)}`, async (folder) => {
      await rm(folder.disk('qcow2'));
      const backing = { backing: join(lab.root, 'image'), backingFormat: 'raw' } as const;
      await createOverlay(folder.disk('qcow2'), { virtualBytes: 64 * MIB, ...backing });
    });
    content = ['0x11 50M'];
    await lay(MOST_LAYERS + 1);
  });
  afterEach(() => source.vm.kill());

  /** Each layer writes a MiB of its own, over what the one before wrote in part; each third one is of zeros. */
  async function lay(count: number): Promise<void> {
    const numbers = Array.from({ length: count }, (_, i) => content.length + i);
    const isZero = (n: number): boolean => n % 3 === 0;
    const writes = numbers.map((n) => `${isZero(n) ? 'write -q -z' : `write -q -P ${String(n)}`} ${String(n)}M 2M`);
    await source.askAndLay(...writes);
    content.push(...numbers.map((n) => `${isZero(n) ? '0' : String(n)} ${String(n)}M`));
  }
  const reads = async (): Promise<void> => {
    await source.ask(...content.map((each) => `read -q -P ${each} 1M`));
  };
  const begin = async () => (await disks.mergeLayers(source.folder, never))!;
  /** As the daemon does it. */
  async function merge(): Promise<void> {
    await using merged = await begin();
    await source.vm.changeBacking(await merged.publish());
    await disks.settle(source.folder, await source.vm.diskFile());
  }
  const leftovers = async (): Promise<string[]> =>
    (await readdir(source.spec.directory)).filter((name) => name.endsWith('.tmp'));
  /** Of which the VMM has the file open though nobody else can. */
  async function openAndGone(): Promise<string[]> {
    const folder = `/proc/${String(source.vm.process.pid)}/fd`;
    const links = await Promise.all((await readdir(folder)).map((fd) => readlink(join(folder, fd)).catch(() => '')));
    return links.filter((link) => link.includes('.qcow2') && link.endsWith(' (deleted)'));
  }

  it('take the place of all that the running VM stands on, which does not notice', async () => {
    const ticks = await ticksOf(source.vm);
    expect(await source.chain()).toHaveLength(MOST_LAYERS + 3);
    await merge();
    expect(await source.chain()).toHaveLength(3);
    // The merged one, and the second name of the file that takes the writes.
    expect(await source.layers()).toHaveLength(2);
    expect(await openAndGone()).toEqual([]);
    expect(await leftovers()).toEqual([]);
    await ticksGoOn(source.vm, ticks);
    await reads();
    await lay(1);
    await reads();
    await source.vm.kill();
    await execa('qemu-img', ['check', '-q', source.spec.disk.path]);
    await readsOf(source.spec.disk.path, ...content);
  });

  it('leave what clones have as it is', async () => {
    const clone = new CapturePaths((await lab.spec(`clone${String(count)}`)).directory);
    await rm(clone.disk('qcow2'));
    await source.vm.pause();
    await disks.clone(source.folder, clone);
    const names = (await readdir(clone.root)).filter((name) => name.startsWith('layer-'));
    const sums = await Promise.all(names.map((name) => sha256Of(join(clone.root, name))));
    await merge(); // of a paused VM as well
    await source.vm.resume();
    await source.write(0xee, '1M');
    expect(await Promise.all(names.map((name) => sha256Of(join(clone.root, name))))).toEqual(sums);
    await readsOf(clone.disk('qcow2'), ...content);
  });

  it('are followed by those that are laid meanwhile', async () => {
    await using merged = await begin();
    expect(merged.progress()).toBe('whole');
    await lay(3);
    expect(merged.progress()).toBe('behind');
    await merged.catchUp();
    await lay(1);
    expect(merged.progress()).toBe('behind');
    await merged.catchUp();
    expect(merged.progress()).toBe('whole');
    await source.vm.changeBacking(await merged.publish());
    await disks.settle(source.folder, await source.vm.diskFile());
    expect(await source.chain()).toHaveLength(5);
    expect(await openAndGone()).toEqual([]);
    await reads();
    await source.vm.kill();
    await readsOf(source.spec.disk.path, ...content);
  });

  it('go over to the next VMM, and to one that is restored', async () => {
    await merge();
    await lay(1);
    const { replaced } = await source.vm.snapshot(targetIn(source.spec));
    expect(replaced).toBe(true);
    await reads();
    await lay(MOST_LAYERS);
    await merge();
    expect((await source.chain()).length).toBeLessThan(6);
    expect(await openAndGone()).toEqual([]);
    await reads();
  });

  it('are given up where the disk is another one', async () => {
    await using merged = await begin();
    await source.vm.kill();
    await disks.destroy(source.folder);
    await createOverlay(source.folder.disk('qcow2'), {
      virtualBytes: 64 * MIB,
      backing: join(lab.root, 'image'),
      backingFormat: 'raw',
    });
    expect(merged.progress()).toBe('void');
  });

  it('of a disk at rest, where a new file of its own stands on them', async () => {
    await source.write(0xee, '40M');
    content.push('0xee 40M');
    await using merged = await begin();
    await source.vm.kill();
    await disks.changeBacking(source.folder, await merged.publish());
    await disks.settle(source.folder);
    expect(await source.chain()).toHaveLength(3);
    expect(await source.layers()).toHaveLength(1);
    expect(await leftovers()).toEqual([]);
    await execa('qemu-img', ['check', '-q', source.spec.disk.path]);
    await readsOf(source.spec.disk.path, ...content);
  });

  /** What a daemon may have come to when it is killed, and on how many files the disk then stands. */
  const STEPS: readonly [string, readonly ((qmp: QmpClient, file: string) => Promise<unknown>)[], 'old' | 'new'][] = [
    ['the merged file has its name', [], 'old'],
    ['the VMM has opened it', [add], 'old'],
    ['the VMM reads through it', [add, reopen], 'old'],
    ['the header says so', [add, reopen, changeHeader], 'new'],
  ];
  const nodeOf = (file: string): string => basename(file, '.qcow2');
  const node = (name: string, file: string) => ({
    driver: 'qcow2',
    'node-name': name,
    discard: 'unmap',
    file: { driver: 'file', filename: file, discard: 'unmap' },
  });
  function add(qmp: QmpClient, file: string): Promise<unknown> {
    return qmp.run('blockdev-add', { ...node(nodeOf(file), file), 'read-only': true });
  }
  async function reopen(qmp: QmpClient, file: string): Promise<unknown> {
    const top = await topOf();
    return qmp.run('blockdev-reopen', { options: [{ ...node(nodeOf(top), top), backing: nodeOf(file) }] });
  }
  async function changeHeader(qmp: QmpClient, file: string): Promise<unknown> {
    const top = nodeOf(await topOf());
    return qmp.run('change-backing-file', { device: top, 'image-node-name': top, 'backing-file': basename(file) });
  }
  let top: string;
  const topOf = (): Promise<string> => Promise.resolve(top);

  describe.each(STEPS)('a daemon killed after %s', (_, steps, end) => {
    beforeEach(async () => {
      const merged = await begin();
      const file = await merged.publish();
      top = await source.vm.diskFile();
      await source.nextDaemon(async (qmp) => {
        for (const step of steps) await step(qmp, file);
      });
    });

    it(`leaves the next one a disk with everything in it, on the ${end} layers`, async () => {
      await disks.settle(source.folder, await source.vm.diskFile());
      expect(await source.layers()).toHaveLength(end === 'old' ? MOST_LAYERS + 2 : 2);
      await reads();
      await lay(1);
      if (end === 'old') await merge();
      expect((await source.chain()).length).toBeLessThan(5);
      expect(await openAndGone()).toEqual([]);
      await reads();
      await source.vm.kill();
      await readsOf(source.spec.disk.path, ...content);
    });

    it('and a VMM that ends too leave it whole', async () => {
      await source.write(0xee, '40M');
      await source.vm.kill();
      await disks.settle(source.folder);
      // At rest the disk's own file needs no second name.
      expect(await source.layers()).toHaveLength(end === 'old' ? MOST_LAYERS + 1 : 1);
      await execa('qemu-img', ['check', '-q', source.spec.disk.path]);
      await readsOf(source.spec.disk.path, ...content, '0xee 40M');
    });
  });

  it('the VM stands on them or not when the call was cancelled, and goes on', async () => {
    for (const afterMs of [0, 1, 2, 5]) {
      await using merged = await begin();
      const file = await merged.publish();
      await source.vm.changeBacking(file, AbortSignal.timeout(afterMs)).catch(() => undefined);
      await disks.settle(source.folder, await source.vm.diskFile());
      await reads();
      while ((await source.layers()).length < MOST_LAYERS + 2) await lay(1);
    }
  });

  it('a VMM that ends in the middle leaves the disk whole', async () => {
    await using merged = await begin();
    const file = await merged.publish();
    const changing = source.vm.changeBacking(file);
    await Promise.all([source.vm.kill(), changing.catch(() => undefined)]);
    await disks.settle(source.folder);
    await readsOf(source.spec.disk.path, ...content);
  });

  it('one that cannot be opened is refused, and changes nothing', async () => {
    await expect(source.vm.changeBacking(source.folder.layer('layer-0123456789abcdef.qcow2'))).rejects.toThrow(
      /blockdev-add.*No such file/,
    );
    await reads();
    await merge();
    await reads();
  });
});
