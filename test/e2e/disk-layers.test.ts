import { execFile } from 'node:child_process';
import { readFileSync, watch } from 'node:fs';
import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { InstanceState } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import type { ForkInstanceResponse } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestHost } from '../harness/test-host.js';
import { isRoot } from '../harness/test-machine.js';

const run = promisify(execFile);
const MIB = 2 ** 20;
const WRITTEN_MIB = 200;
const program = readFileSync(new URL('../guest/disk-worker.cjs', import.meta.url));

const countOf = (line: string): number => Number(/^count (\d+)$/.exec(line)?.[1]);

interface Answer {
  /** Sum of each file's content, read from the disk. */
  readonly sums: Record<string, string>;
  /** Whether each number that was counted in memory is on the disk. */
  readonly counts: boolean;
  readonly wrote?: string;
}

async function bootWriter(host: TestHost, name: string, mebibytes: number): Promise<void> {
  const path = '/srv/disk-worker.cjs';
  await host.create({
    name,
    workload: {
      argv: ['node', path],
      env: { MEBIBYTES: String(mebibytes) },
      workingDirectory: '',
      files: [{ path, mode: 0o644, content: program }],
    },
  });
}

describe('a VM that has written 200 MiB, on a filesystem without reflinks', () => {
  let host: TestHost;
  let first: string;
  const written: Record<string, string> = {};

  beforeAll(async () => {
    host = await TestHost.start();
    await bootWriter(host, 'source', WRITTEN_MIB);
    first = (await host.logLine('source', (line) => line.startsWith('wrote first'))).slice('wrote first '.length);
    written.first = first;
    await host.logLine('source', (line) => line === 'armed');
  });
  afterAll(() => host[Symbol.asyncDispose]());

  /** A fork that answers what its disk holds, and writes `mebibytes` of its own under its name. */
  async function fork(
    source: string,
    name: string,
    { mebibytes = 0, fromRunning = true } = {},
  ): Promise<ForkInstanceResponse & { answer: Answer }> {
    const task = JSON.stringify({ write: mebibytes, name });
    const response = await host.fork({
      source,
      name,
      fromRunning,
      mailboxes: [{ name: 'task', payload: { $case: 'json', json: task } }],
    });
    const answer = JSON.parse(response.acks[0]!.detail) as Answer;
    await host.logLine(name, (line) => line === 'armed'); // again, to be forked itself
    if (answer.wrote !== undefined) written[name] = answer.wrote;
    return { ...response, answer };
  }
  const directory = async (name: string): Promise<string> => (await host.get(name)).instance!.directory;
  const layers = async (name: string): Promise<string[]> =>
    (await readdir(await directory(name))).filter((file) => file.startsWith('layer-'));

  it('is forked while it runs without copying that, in its pause or after', async () => {
    const { answer, disk, sourceDisk } = await fork('source', 'child', { mebibytes: 20 });
    expect(answer).toMatchObject({ sums: { first }, counts: true });
    expect(sourceDisk).toMatchObject({ layers: 1, reflinked: false });
    expect(disk).toMatchObject({ layers: 1, reflinked: false });
    for (const { copiedBytes } of [sourceDisk!, disk!]) expect(Number(copiedBytes)).toBeLessThan(2 * MIB);
    // It is the source's own file, and holds what the guest has written.
    const [layer = ''] = await layers('child');
    const [ofChild, ofSource] = await Promise.all(
      ['child', 'source'].map(async (name) => stat(join(await directory(name), layer))),
    );
    expect(ofChild!.ino).toBe(ofSource!.ino);
    expect(ofChild!.blocks * 512).toBeGreaterThan(WRITTEN_MIB * MIB);
  });

  it('has grandchildren that find what each of their ancestors had written', async () => {
    const { answer, sourceDisk } = await fork('child', 'grandchild', { mebibytes: 10 });
    expect(answer).toMatchObject({ sums: { first, child: written.child }, counts: true });
    expect(sourceDisk).toMatchObject({ layers: 2 });
    expect(Number(sourceDisk!.copiedBytes)).toBeLessThan(2 * MIB);
  });

  it('goes on itself with what it had, also parked and restored, and its forks then copy as little', async () => {
    await host.standby('source', 'task');
    const parked = await fork('source', 'of-parked', { fromRunning: false });
    expect(parked.answer).toMatchObject({ sums: { first }, counts: true });
    expect(parked.sourceDisk).toBeUndefined();
    expect(Number(parked.disk!.copiedBytes)).toBeLessThan(2 * MIB);
    await host.delete('of-parked');
    await host.restore('source');
    expect((await fork('source', 'of-restored')).answer).toMatchObject({ sums: { first }, counts: true });
    await host.delete('of-restored');
  });

  it('a fork keeps everything when its ancestors are deleted', async () => {
    await host.delete('child');
    const { answer } = await fork('grandchild', 'orphan');
    expect(answer).toMatchObject({
      sums: { first, child: written.child, grandchild: written.grandchild },
      counts: true,
    });
    await host.delete('grandchild');
    expect((await fork('orphan', 'last')).answer.sums).toEqual(written);
    for (const name of ['orphan', 'last']) await host.delete(name);
  });

  it.each([true, false])(
    'writes on while it is forked, and each fork has a clean filesystem (workload frozen: %s)',
    async (freezeWorkload) => {
      for (let i = 0; i < 3; i++) {
        const { instance } = await host.fork({
          source: 'source',
          name: 'checked',
          fromRunning: true,
          freezeWorkload,
          targetState: InstanceState.INSTANCE_STATE_STOPPED,
        });
        const raw = join(host.root, 'raw');
        await run('qemu-img', ['convert', '-O', 'raw', join(await directory(instance!.id), 'disk.qcow2'), raw]);
        await host.delete('checked');
        // As the guest's own kernel would on mounting it: the journal, then not one thing more.
        await run('e2fsck', ['-E', 'journal_only', '-y', raw]);
        await run('e2fsck', ['-fn', raw]);
        const { stdout } = await run('debugfs', ['-R', 'cat /var/counts', raw]);
        const counts = stdout.trimEnd().split('\n').map(Number);
        expect(counts).toEqual(counts.map((_, n) => n + 1));
        await rm(raw);
      }
    },
  );

  // One with few layers: beyond sixteen they would become one while this looks at them.
  describe('and is not forked to the end', () => {
    let itsFirst: string;
    beforeAll(async () => {
      await bootWriter(host, 'victim', 12);
      itsFirst = (await host.logLine('victim', (line) => line.startsWith('wrote first'))).slice('wrote first '.length);
      await host.logLine('victim', (line) => line === 'armed');
    });
    afterAll(() => host.delete('victim'));

    // What a daemon has come to when these appear: a name for the old file, the new file, the new file under the disk's name.
    it.each([
      ['the layer has its name', /^layer-.*\.qcow2$/],
      ['its new file is made', /^layer-.*\.tmp$/],
      ['its new file takes the writes', /^disk\.qcow2\.tmp$/],
      ['its new file is the disk', /^disk\.qcow2$/],
    ])('loses nothing when the daemon is killed as %s', async (_, name) => {
      const { vmmPid, directory: folder } = (await host.get('victim')).instance!;
      const log = await readFile(join(folder, 'logs', 'workload.log'), 'utf8');
      const counted = countOf(log.match(/^count \d+$/gm)!.at(-1)!);
      // 16 MiB more, all that it writes in turn: enough for a layer.
      await host.logLine('victim', (line) => countOf(line) > counted + 33);
      const watcher = watch(folder, (event, file) => {
        if (event === 'rename' && name.test(file ?? '')) process.kill(host.daemon.pid, 'SIGKILL');
      });
      watcher.unref();
      await expect(host.fork({ source: 'victim', name: 'cut-short', fromRunning: true })).rejects.toThrow();
      watcher.close();
      await host.stopDaemon('SIGKILL');
      await host.startDaemon();
      expect((await host.get('victim')).instance).toMatchObject({ vmmPid });
      const { answer } = await fork('victim', 'after');
      expect(answer).toMatchObject({ sums: { first: itsFirst }, counts: true });
      await host.delete('after');
      expect((await readdir(folder)).filter((file) => file.endsWith('.tmp'))).toEqual([]);
      const chain = await run('qemu-img', [
        'info',
        '-U',
        '--backing-chain',
        '--output=json',
        join(folder, 'disk.qcow2'),
      ]);
      // Below the disk's own file, whose second name is a layer's, too; at the bottom the image.
      expect((JSON.parse(chain.stdout) as object[]).length - 1).toBe((await layers('victim')).length);
    });
  });

  it('stopped, it is forked without copying either', async () => {
    await bootWriter(host, 'second', 12);
    await host.logLine('second', (line) => line === 'armed');
    await host.stop('second');
    for (const name of ['of-stopped-1', 'of-stopped-2']) {
      const { disk } = await host.fork({ source: 'second', name });
      expect(disk).toMatchObject({ layers: 1 });
      expect(Number(disk!.copiedBytes)).toBeLessThan(2 * MIB);
    }
    for (const name of ['second', 'of-stopped-1']) await host.startInstance(name);
    for (const name of ['second', 'of-stopped-1', 'of-stopped-2']) await host.delete(name);
  });
});

const lacking = await run('mkfs.xfs', ['-V']).then(
  () => (isRoot ? '' : 'root'),
  () => 'mkfs.xfs',
);

describe.skipIf(lacking !== '')(`on a filesystem with reflinks${lacking && ` (skipped: ${lacking})`}`, () => {
  it('a disk is cloned whole, without copying and without layers', async () => {
    await using host = await TestHost.start({ stateBytes: 1024 * MIB, stateType: 'xfs' });
    await bootWriter(host, 'source', 20);
    await host.logLine('source', (line) => line === 'armed');
    const { disk, sourceDisk } = await host.fork({
      source: 'source',
      name: 'child',
      fromRunning: true,
    });
    for (const cost of [disk, sourceDisk]) expect(cost).toMatchObject({ reflinked: true, copiedBytes: 0n, layers: 0 });
  });
});
