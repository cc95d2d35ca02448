import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InstanceState } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import { execa, execaSync } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isLayerName } from '../../host-agent/src/domain/layer-name.js';
import { findProgram } from '../../host-agent/src/os/program-path.js';
import { missingFor as missingForFilesystem } from '../../host-agent/src/os/testing/mount-lab.js';
import { MOST_LAYERS } from '../../host-agent/src/storage/layer-policy.js';
import { QEMU_KVM } from '../conformance/subjects/qemu.js';
import { durableOf, recordsOn, saidDurable } from '../harness/disk-records.js';
import { SnapshotCalls } from '../harness/snapshot-calls.js';
import { TestHost, type TestHostOptions } from '../harness/test-host.js';
import { isRoot } from '../harness/test-machine.js';

/** Of each storage; OFFSHOOT_WRITING_SNAPSHOTS=100 for figures worth quoting. */
const SNAPSHOTS = Number(process.env.OFFSHOOT_WRITING_SNAPSHOTS ?? '3');

const XFS = { stateType: 'xfs', stateBytes: 8 * 2 ** 30 } as const;

/** A storage, the hypervisor it is for, and where the daemon's disks have to be for it to be chosen. */
const STORAGES = [
  { storage: 'overlay', driver: 'qemu', place: 'where clones copy', file: 'disk.qcow2' },
  { storage: 'overlay', driver: 'qemu', place: 'xfs', file: 'disk.qcow2' },
  { storage: 'sparse', driver: 'firecracker', place: 'where clones copy', file: 'disk.raw' },
  { storage: 'reflink', driver: 'firecracker', place: 'xfs', file: 'disk.raw' },
  { storage: 'zfs', driver: 'firecracker', place: 'a pool', file: 'disk.raw' },
] as const;

interface Place extends AsyncDisposable {
  readonly options: TestHostOptions;
}

const PLACES: Record<(typeof STORAGES)[number]['place'], () => Promise<Place>> = {
  'where clones copy': () =>
    Promise.resolve({
      options: { stateType: 'tmpfs', stateBytes: 4 * 2 ** 30 },
      [Symbol.asyncDispose]: () => Promise.resolve(),
    }),
  xfs: () => Promise.resolve({ options: XFS, [Symbol.asyncDispose]: () => Promise.resolve() }),
  'a pool': async () => {
    const folder = await mkdtemp(join(tmpdir(), 'offshoot-pool-'));
    const [pool, file] = [`offshoot-test-${randomBytes(4).toString('hex')}`, join(folder, 'pool')];
    await writeFile(file, '');
    await truncate(file, 8 * 2 ** 30);
    await execa('zpool', ['create', '-m', 'none', '-R', folder, pool, file]);
    await execa('zfs', ['create', '-o', 'mountpoint=none', `${pool}/offshoot`]);
    return {
      options: { settings: { 'storage.zfs_dataset': `${pool}/offshoot` } },
      [Symbol.asyncDispose]: async () => {
        await execa('zpool', ['destroy', '-f', pool]);
        await rm(folder, { recursive: true });
      },
    };
  },
};

async function missingFor({ driver, place }: (typeof STORAGES)[number]): Promise<string> {
  if (!isRoot) return 'skipped: root';
  const lacking = place === 'xfs' ? missingForFilesystem('xfs') : '';
  if (lacking !== '') return `skipped: ${lacking}`;
  if (place === 'a pool' && execaSync('zpool', ['version'], { reject: false }).failed)
    return 'skipped: zpool, or ZFS in the kernel';
  if (driver === 'qemu') return '';
  if ((await findProgram(driver)) === undefined) return `skipped: no ${driver} binary`;
  const kvm = await QEMU_KVM.missing();
  return kvm === '' ? '' : `skipped: ${kvm}`;
}

const quantile = (values: readonly number[], q: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * q))] ?? Number.NaN;

for (const subject of STORAGES) {
  const { storage, driver, place, file } = subject;
  const missing = await missingFor(subject);
  const lacks = missing === '' ? '' : ` (${missing})`;
  describe.skipIf(missing !== '')(`a guest that writes without pause, on ${storage}, ${place}${lacks}`, () => {
    let where: Place;
    let host: TestHost;
    let snapshots: SnapshotCalls;
    const pauses: number[] = [];
    // Of each snapshot: what its own disk file takes, in bytes, which is what the pause copied where nothing is shared; and its
    // layers.
    const copied: number[] = [];
    const layers: number[] = [];
    beforeAll(async () => {
      where = await PLACES[place]();
      host = await TestHost.start(where.options);
      snapshots = new SnapshotCalls(host);
      await host.boot('source', 'disk-writer.cjs', { driver });
      await host.logLine('source', (line) => durableOf(line) >= 20);
    });
    afterAll(async () => {
      const [p50, p95] = [0.5, 0.95].map((q) => quantile(pauses, q).toFixed(1));
      const [mid, high] = [0.5, 0.95].map((q) => (quantile(copied, q) / 2 ** 20).toFixed(1));
      console.log(
        `${storage} (${place}), ${String(pauses.length)} snapshots: pause p50 ${p50} ms, p95 ${p95} ms, ` +
          `disk file p50 ${mid} MiB, p95 ${high} MiB, layers at most ${String(Math.max(...layers))}, ` +
          `at the end ${String(layers.at(-1))}`,
      );
      await host[Symbol.asyncDispose]();
      await where[Symbol.asyncDispose]();
    });

    it('has its disks on that storage', async () => {
      const { directory } = (await host.get('source')).instance!;
      const record = await readFile(host.machine.seen(join(directory, 'instance.json')), 'utf8');
      expect(JSON.parse(record)).toMatchObject({ driver, storage });
    });

    it(`loses no record it has acknowledged, in any of ${String(SNAPSHOTS)} snapshots`, async () => {
      for (let n = 1; n <= SNAPSHOTS; n++) {
        const before = await saidDurable(host, 'source');
        const { snapshot, sourcePause } = await snapshots.create({ instance: 'source', name: `moment-${String(n)}` });
        pauses.push(Number(sourcePause!.seconds) * 1e3 + sourcePause!.nanos / 1e6);
        const moment = host.machine.seen(snapshot!.directory);
        copied.push((await stat(join(moment, file))).blocks * 512);
        layers.push((await readdir(moment)).filter(isLayerName).length);
        const { instance } = await snapshots.fork({
          snapshot: snapshot!.id,
          name: 'fork',
          targetState: InstanceState.INSTANCE_STATE_STOPPED,
        });
        const disk = host.machine.seen(join(instance!.directory, file));
        expect(await recordsOn(disk), `snapshot ${String(n)}`).toBeGreaterThanOrEqual(before);
        await host.delete('fork');
        await snapshots.delete(snapshot!.id);
      }
    }, 3_600_000);

    it.runIf(storage === 'overlay' && place === 'where clones copy')(
      'copies no more in its pauses, and stands on no more layers, for all that was written before',
      () => {
        // A layer is laid from 8 MiB on; what is written until the pause comes on top.
        expect(quantile(copied, 0.95)).toBeLessThan(16 * 2 ** 20);
        expect(Math.max(...layers)).toBeLessThan(2 * MOST_LAYERS);
      },
    );

    it('goes on writing', async () => {
      const before = await saidDurable(host, 'source');
      await host.logLine('source', (line) => durableOf(line) > before);
    });
  });
}
