import { mkdtemp, open, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa, execaSync } from 'execa';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createMerged, type MergedLayer } from './merged-layer.js';
import { readQcow2Header } from './qcow2-header.js';
import { createOverlay } from './qcow2-overlay.js';

const missing = execaSync('qemu-io', ['--version'], { reject: false }).failed ? 'qemu-io' : '';
const MIB = 2 ** 20;
const CLUSTER = 64 * 1024;

describe.skipIf(missing !== '')(`layers made one${missing && ` (skipped: ${missing})`}`, () => {
  let root: string;
  let virtualBytes: number;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'merged-'));
    virtualBytes = 4 * MIB;
    await writeFile(join(root, 'image'), Buffer.alloc(3 * MIB, 0x11)); // the disk is larger
  });
  afterEach(() => rm(root, { recursive: true }));

  const file = (n: number | string): string => join(root, `layer-${String(n).padStart(16, '0')}.qcow2`);
  const name = (n: number): string => file(n).slice(root.length + 1);
  /** With discards as VMs have them. */
  const io = (disk: string, ...commands: string[]) =>
    execa('qemu-io', ['-d', 'unmap', ...commands.flatMap((command) => ['-c', command]), disk]);
  /** Files 1, 2, ... upwards from the image, the last of which takes these writes. */
  async function layer(n: number, ...commands: string[]): Promise<void> {
    const below =
      n === 1
        ? ({ backing: join(root, 'image'), backingFormat: 'raw' } as const)
        : ({ backing: name(n - 1), backingFormat: 'qcow2' } as const);
    await rm(file(n), { force: true });
    await createOverlay(file(n), { virtualBytes, ...below });
    if (commands.length > 0) await io(file(n), ...commands);
  }
  async function merge(newest: number, oldest: number, more: Partial<MergedLayer> = {}): Promise<string> {
    const files = Array.from({ length: newest - oldest + 1 }, (_, i) => file(newest - i));
    const path = file('a');
    await rm(path, { force: true });
    await createMerged(path, { files, ...more });
    await execa('qemu-img', ['check', '-q', path]);
    return path;
  }
  /** Fails where the guest would see a difference. */
  const same = (one: string, other: string) => execa('qemu-img', ['compare', '-f', 'qcow2', '-F', 'qcow2', one, other]);

  it('read as they did, each cluster as the newest has it', async () => {
    await layer(1, 'write -P 1 0 128k', 'write -P 1 1M 64k');
    await layer(2, 'write -P 2 64k 128k');
    await layer(3, 'write -P 3 128k 4k');
    const merged = await merge(3, 1);
    await same(file(3), merged);
    expect(readQcow2Header(merged)).toEqual({ virtualBytes, backing: join(root, 'image') });
    const { stdout } = await io(
      merged,
      'read -P 1 0 64k',
      'read -P 2 64k 64k',
      'read -P 3 128k 4k',
      'read -P 2 132k 60k',
    );
    expect(stdout).not.toMatch(/verification failed/i);
  });

  it('keep the zeros that hide what lies below, written or discarded, and take no room for them', async () => {
    await layer(1, 'write -P 1 0 1M');
    await layer(2, 'write -P 2 0 1M');
    await layer(3, 'write -z 0 256k', 'discard 256k 256k', 'write -P 0 512k 64k', 'write -z -u 1M 64k');
    const merged = await merge(3, 2);
    await same(file(3), merged);
    const { stdout } = await io(
      merged,
      'read -P 0 0 576k',
      'read -P 2 576k 448k',
      'read -P 0 1M 64k',
      'read -P 17 1088k 64k',
    );
    expect(stdout).not.toMatch(/verification failed/i);
    expect((await stat(merged)).blocks * 512).toBeLessThan(0.8 * MIB);
  });

  it('hold nothing of what lies below them', async () => {
    await layer(1, 'write -P 1 0 2M');
    await layer(2, 'write -P 2 0 64k');
    await layer(3, 'write -P 3 64k 64k');
    const merged = await merge(3, 2);
    expect(readQcow2Header(merged).backing).toBe(name(1));
    expect((await stat(merged)).blocks * 512).toBeLessThan(5 * CLUSTER + 4096);
    await same(file(3), merged);
  });

  it('stand on another file of the same content, where they are told to', async () => {
    await layer(1, 'write -P 1 0 64k');
    await layer(2, 'write -P 2 64k 64k');
    await layer(3, 'write -P 3 0 4k');
    await execa('cp', [await merge(2, 1), file('b')]);
    const merged = await merge(3, 3, { backing: file('b').slice(root.length + 1) });
    for (const gone of [1, 2]) await rm(file(gone));
    const { stdout } = await io(
      merged,
      'read -P 3 0 4k',
      'read -P 1 4k 60k',
      'read -P 2 64k 64k',
      'read -P 17 128k 64k',
    );
    expect(stdout).not.toMatch(/verification failed/i);
  });

  it('of disks of many tables, and one whose end cuts its last cluster short', async () => {
    virtualBytes = 40 * 2 ** 30 + 4096;
    await layer(1, 'write -P 1 0 64k', `write -P 1 ${String(20 * 2 ** 30 - CLUSTER)} 192k`);
    await layer(2, `write -P 2 ${String(20 * 2 ** 30)} 64k`, `write -P 2 ${String(40 * 2 ** 30)} 4k`);
    await same(file(2), await merge(2, 1));
  });

  it('whatever was written to them', async () => {
    const command = fc
      .tuple(
        fc.constantFrom('write', 'write -z', 'write -z -u', 'discard'),
        fc.nat(63),
        fc.nat(15),
        fc.integer({ min: 1, max: 40 }),
      )
      .map(([what, cluster, at, length]) => {
        const offset = cluster * 64 + 4 * at;
        const value = what === 'write' ? ` -P ${String((cluster % 250) + 1)}` : '';
        return `${what}${value} ${String(offset)}k ${String(4 * Math.min(length, 1024 - offset / 4))}k`;
      });
    const layers = fc.array(fc.array(command, { maxLength: 8 }), { minLength: 2, maxLength: 5 });
    await fc.assert(
      fc.asyncProperty(layers, fc.nat(3), async (written, below) => {
        for (const [i, commands] of written.entries()) await layer(i + 1, ...commands);
        const oldest = 1 + Math.min(below, written.length - 1);
        await same(file(written.length), await merge(written.length, oldest));
      }),
      { numRuns: 12 },
    );
  }, 60_000);

  it('give way before each piece, and end with their caller', async () => {
    await layer(1, 'write -P 1 0 3M');
    await layer(2, 'write -P 2 3M 1M');
    let turns = 0;
    await merge(2, 1, { turn: () => Promise.resolve((turns += 1)).then(() => undefined) });
    expect(turns).toBe(1 + 4);
    const caller = new AbortController();
    const turn = (): Promise<void> => {
      if (--turns === 2) caller.abort(new Error('gone'));
      return Promise.resolve();
    };
    await expect(createMerged(file('c'), { files: [file(2), file(1)], turn }, caller.signal)).rejects.toThrow('gone');
  });

  async function writeAt(path: string, bytes: Buffer, offset: number): Promise<void> {
    await using handle = await open(path, 'r+');
    await handle.write(bytes, 0, bytes.length, offset);
  }

  it('are not made of files whose clusters are not plain, or whose disks differ', async () => {
    await layer(1, 'write -P 1 0 64k');
    const backing = ['-b', name(1), '-F', 'qcow2'];
    await execa('qemu-img', ['create', '-q', '-f', 'qcow2', ...backing, '-o', 'cluster_size=4k', file(2)]);
    await expect(merge(2, 1)).rejects.toThrow('is no plain qcow2 disk');
    await execa('qemu-img', ['create', '-q', '-f', 'qcow2', ...backing, '-o', 'extended_l2=on', file(2)]);
    await expect(merge(2, 1)).rejects.toThrow('is no plain qcow2 disk');
    await execa('qemu-img', ['convert', '-c', '-O', 'qcow2', file(1), file(3)]);
    await expect(createMerged(file('a'), { files: [file(3)], backing: name(1) })).rejects.toThrow(
      'is no plain qcow2 disk',
    );
    await execa('qemu-img', ['create', '-q', '-f', 'qcow2', ...backing, file(2), '8M']);
    await expect(merge(2, 1)).rejects.toThrow('are no layers of one disk');
    await layer(2);
    const levelOneEntries = Buffer.from([0xff, 0xff, 0xff, 0xff]);
    await writeAt(file(2), levelOneEntries, 36);
    await expect(merge(2, 1)).rejects.toThrow('is no plain qcow2 disk');
    await truncate(file(2), 0);
    await expect(merge(2, 1)).rejects.toThrow('is no plain qcow2 disk');
  });
});
