import { existsSync, readdirSync, watch, type FSWatcher } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { InstanceState } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isLayerName } from '../../host-agent/src/domain/layer-name.js';
import { MOST_LAYERS } from '../../host-agent/src/storage/layer-policy.js';
import { durableOf, recordsOn, saidDurable } from '../harness/disk-records.js';
import { SnapshotCalls } from '../harness/snapshot-calls.js';
import { TestHost } from '../harness/test-host.js';

/** From which a disk gets another layer. */
const LAYER_BYTES = 8 * 2 ** 20;
const MERGED = '.merged.tmp';
/** It takes as many snapshots as there may be layers to have too many, with 8 MiB written by a slow guest before each. */
const PATIENCE = { timeout: 600_000 };

describe('a VM that writes without pause, on a filesystem without reflinks', () => {
  let host: TestHost;
  let snapshots: SnapshotCalls;
  let folder: string;
  /** How many records the disk of the first snapshot has at least, which was taken before anything was merged. */
  let recordsOfOld: number;

  beforeAll(async () => {
    host = await TestHost.start();
    snapshots = new SnapshotCalls(host);
    folder = (await host.boot('writer', 'disk-writer.cjs', { env: { BALLAST_BYTES: String(256 * 2 ** 10) } }))
      .directory;
    await host.logLine('writer', (line) => durableOf(line) >= 20);
    recordsOfOld = await saidDurable(host, 'writer');
    await snapshots.create({ instance: 'writer', name: 'old' });
  });
  afterAll(async () => {
    await snapshots.deleteAll().finally(() => host[Symbol.asyncDispose]());
  });

  /** Those below the file that takes the writes, which has a layer's name as well. */
  const layers = (): number => Math.max(0, readdirSync(folder).filter(isLayerName).length - 1);
  async function untilWorthLayer(): Promise<void> {
    const bytes = async (): Promise<number> => (await stat(join(folder, 'disk.qcow2'))).blocks * 512;
    while ((await bytes()) < LAYER_BYTES) {
      let unread = (await host.logBytes('writer')) + 10; // some records more
      await host.logLine('writer', (line) => (unread -= line.length + 1) < 0);
    }
  }
  async function layer(): Promise<void> {
    await untilWorthLayer();
    await snapshots.create({ instance: 'writer', name: 'moment' });
    await snapshots.delete('moment');
  }

  /**
   * Gives the disk a layer too many, and watches its folder.
   * @param reached tells from the name of a file that came or went whether it is time to `act`, once, given the process of its VMM
   */
  async function merging(reached: (name: string) => boolean, act: (vmmPid: number) => void): Promise<void> {
    while (layers() < MOST_LAYERS) await layer();
    await untilWorthLayer();
    const { vmmPid } = (await host.get('writer')).instance!; // another one after its first capture
    let watcher: FSWatcher | undefined;
    const acted = new Promise<void>((resolve) => {
      watcher = watch(folder, (event, name) => {
        if (event !== 'rename' || name === null || !reached(name)) return;
        watcher?.close();
        act(vmmPid);
        resolve();
      });
    });
    await Promise.all([acted, layer().catch(() => undefined)]);
  }
  // What has happened to the folder, told from the name of a file that came or went.
  const beginsToCopy = () => (name: string) => name.endsWith(MERGED);
  const hasItsName = () => {
    const made = new Set<string>();
    return (name: string): boolean => {
      if (name.endsWith(MERGED)) made.add(name.slice(0, -MERGED.length));
      return made.has(name) && existsSync(join(folder, name));
    };
  };
  const replacesOthers = () => (name: string) => isLayerName(name) && !existsSync(join(folder, name));

  async function nextDaemon(): Promise<void> {
    await host.stopDaemon('SIGKILL');
    await host.startDaemon();
    await snapshots.delete('moment').catch(() => undefined);
  }

  /** Everything that was acknowledged is on the disk, and the folder holds what that stands on and no more. */
  async function isWhole(): Promise<void> {
    await host.pause('writer');
    const records = await saidDurable(host, 'writer');
    expect(await recordsOn(join(folder, 'disk.qcow2'))).toBeGreaterThanOrEqual(records);
    const image = await execa('qemu-img', [
      'info',
      '-U',
      '--backing-chain',
      '--output=json',
      join(folder, 'disk.qcow2'),
    ]);
    // Besides the layers the disk's own file, and the image.
    expect(JSON.parse(image.stdout)).toHaveLength(layers() + 2);
    expect((await readdir(folder)).filter((name) => name.endsWith('.tmp'))).toEqual([]);
    await host.resume('writer');
    await host.logLine('writer', (line) => durableOf(line) > records);
  }

  it.each([
    ['a merged file is being made', beginsToCopy],
    ['the merged file has its name', hasItsName],
    ['the layers it replaces go', replacesOthers],
  ])('loses nothing when the daemon is killed as %s', PATIENCE, async (_, step) => {
    const { vmmPid } = (await host.get('writer')).instance!;
    await merging(step(), () => {
      process.kill(host.daemon.pid, 'SIGKILL');
    });
    await nextDaemon();
    expect((await host.get('writer')).instance).toMatchObject({ vmmPid });
    await isWhole();
  });

  it('stands on few layers after all that, and its forks and old snapshots have what they had', PATIENCE, async () => {
    if (layers() > MOST_LAYERS) await merging(replacesOthers(), () => undefined);
    expect(layers()).toBeLessThanOrEqual(MOST_LAYERS);
    const records = await saidDurable(host, 'writer');
    const STOPPED = InstanceState.INSTANCE_STATE_STOPPED;
    await host.fork({ source: 'writer', name: 'fork', fromRunning: true, targetState: STOPPED });
    await snapshots.fork({ snapshot: 'old', name: 'of-old', targetState: STOPPED });
    for (const [name, least] of [
      ['fork', records],
      ['of-old', recordsOfOld],
    ] as const) {
      const { directory } = (await host.get(name)).instance!;
      expect(await recordsOn(join(directory, 'disk.qcow2')), name).toBeGreaterThanOrEqual(least);
    }
    await host.startInstance('of-old');
    await isWhole();
    for (const name of ['fork', 'of-old']) await host.delete(name);
  });

  it('stopped in the middle of it, has its layers merged at rest, and starts', PATIENCE, async () => {
    let stopping: Promise<unknown> = Promise.resolve();
    await merging(beginsToCopy(), () => {
      stopping = host.stop('writer');
    });
    const records = await saidDurable(host, 'writer');
    await stopping;
    while (layers() > MOST_LAYERS || (await readdir(folder)).some((name) => name.endsWith('.tmp'))) await host.list();
    expect(await recordsOn(join(folder, 'disk.qcow2'))).toBeGreaterThanOrEqual(records);
    await host.startInstance('writer');
    await host.logLine('writer', (line) => durableOf(line) >= 20);
  });

  it(
    'has a whole disk when its hypervisor is killed as the merged file has its name, and starts',
    PATIENCE,
    async () => {
      await merging(hasItsName(), (vmmPid) => {
        process.kill(vmmPid, 'SIGKILL');
      });
      await host.untilState('writer', InstanceState.INSTANCE_STATE_FAILED);
      expect(await recordsOn(join(folder, 'disk.qcow2'))).toBeGreaterThan(0);
      await host.startInstance('writer');
      await host.logLine('writer', (line) => durableOf(line) >= 20);
    },
  );
});
