import { readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { InstanceState } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { quantile } from '../../host-agent/src/bench/statistics.js';
import { isLayerName } from '../../host-agent/src/domain/layer-name.js';
import { findProgram } from '../../host-agent/src/os/program-path.js';
import { missingFor as missingForFilesystem } from '../../host-agent/src/os/testing/mount-lab.js';
import { MOST_LAYERS } from '../../host-agent/src/storage/layer-policy.js';
import { TestPool, missingForPools } from '../../host-agent/src/storage/zfs/testing/test-pool.js';
import { QEMU_KVM } from '../conformance/subjects/qemu.js';
import { durableOf, recordsOn, saidDurable } from '../harness/disk-records.js';
import { isLab } from '../harness/is-lab.js';
import { lowerPriority } from '../harness/low-priority.js';
import { SnapshotCalls } from '../harness/snapshot-calls.js';
import { TestHost, type TestHostOptions } from '../harness/test-host.js';
import { isRoot } from '../harness/test-machine.js';

/** Of each storage; OFFSHOOT_WRITING_SNAPSHOTS=100 for figures worth quoting. */
const SNAPSHOTS = Number(process.env.OFFSHOOT_WRITING_SNAPSHOTS ?? '3');

/** The whole of one snapshot, its fork and its checks, where even the host is emulated; 21 to 50 s were measured on a quiet one. */
const SNAPSHOT_MS = 600_000;

/** ZFS comes to write everywhere in a pool, and one whose file finds no more room stands still: less than the lab host's /tmp. */
const POOL_BYTES = 3 * 2 ** 30;

const XFS = { stateType: 'xfs', stateBytes: 8 * 2 ** 30 } as const;

/** A storage, a hypervisor that reads it, and where the daemon's disks have to be for it. */
const STORAGES = [
  { storage: 'overlay', driver: 'qemu', place: 'where clones copy', file: 'disk.qcow2' },
  { storage: 'overlay', driver: 'qemu', place: 'xfs', file: 'disk.qcow2' },
  { storage: 'sparse', driver: 'qemu', place: 'where clones copy', file: 'disk.raw' },
  { storage: 'reflink', driver: 'qemu', place: 'xfs', file: 'disk.raw' },
  { storage: 'zfs', driver: 'qemu', place: 'a pool', file: 'disk.raw' },
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
    const pool = await TestPool.open(POOL_BYTES);
    return {
      options: { settings: { 'storage.zfs_dataset': pool.dataset } },
      [Symbol.asyncDispose]: () => pool[Symbol.asyncDispose](),
    };
  },
};

async function missingFor({ driver, place }: (typeof STORAGES)[number]): Promise<string> {
  if (!isRoot) return 'skipped: root';
  const lacking = place === 'xfs' ? missingForFilesystem('xfs') : '';
  if (lacking !== '') return `skipped: ${lacking}`;
  const withoutPool = place === 'a pool' ? missingForPools() : '';
  if (withoutPool !== '') return `skipped: ${withoutPool}`;
  if (driver === 'qemu') return '';
  if ((await findProgram(driver)) === undefined) return `skipped: no ${driver} binary`;
  const kvm = await QEMU_KVM.missing();
  return kvm === '' ? '' : `skipped: ${kvm}`;
}

const shown = (values: readonly number[], unit = 1): string =>
  [0.5, 0.95].map((share) => (quantile(values, share) / unit).toFixed(1)).join('/');

for (const subject of STORAGES) {
  const { storage, driver, place, file } = subject;
  const missing = await missingFor(subject);
  const title = `a guest of ${driver} that writes without pause, on ${storage}, ${place}`;
  describe.skipIf(missing !== '')(`${title}${missing && ` (${missing})`}`, () => {
    let where: Place;
    let host: TestHost;
    let snapshots: SnapshotCalls;
    const pauses: number[] = [];
    /** Of each snapshot on layers: what its own file takes, in bytes, which the pause has copied unless it is shared; and its layers. */
    const ownBytes: number[] = [];
    const layers: number[] = [];
    beforeAll(async () => {
      where = await PLACES[place]();
      const { settings } = where.options;
      host = await TestHost.start({ ...where.options, settings: { ...settings, 'storage.driver': storage } });
      snapshots = new SnapshotCalls(host);
      // Little, for each snapshot keeps all of it: what the guest has written it has in its memory, too.
      await host.boot('source', 'disk-writer.cjs', { driver, memoryBytes: 256n * 2n ** 20n });
      await host.logLine('source', (line) => durableOf(line) >= 20);
    });
    afterAll(async () => {
      await host[Symbol.asyncDispose]();
      await where[Symbol.asyncDispose]();
    });

    it('has its disks on that storage', async () => {
      const { directory } = (await host.get('source')).instance!;
      const record = await readFile(host.machine.seen(join(directory, 'instance.json')), 'utf8');
      expect(JSON.parse(record)).toMatchObject({ driver, storage });
    });

    it(
      `loses no record it has acknowledged, in any of ${String(SNAPSHOTS)} snapshots`,
      async () => {
        let latest = 0;
        for (let n = 1; n <= SNAPSHOTS; n++) {
          // A snapshot may have put it into another VMM.
          if (isLab) lowerPriority((await host.get('source')).instance!.vmmPid);
          // Each has something new.
          await host.logLine('source', (line) => durableOf(line) > latest);
          latest = await saidDurable(host, 'source');
          const { snapshot, sourcePause } = await snapshots.create({ instance: 'source', name: `moment-${String(n)}` });
          pauses.push(Number(sourcePause!.seconds) * 1e3 + sourcePause!.nanos / 1e6);
          if (storage === 'overlay') {
            const moment = host.machine.seen(snapshot!.directory);
            ownBytes.push((await stat(join(moment, file))).blocks * 512);
            layers.push((await readdir(moment)).filter(isLayerName).length);
          }
          const { instance } = await snapshots.fork({
            snapshot: snapshot!.id,
            name: 'fork',
            targetState: InstanceState.INSTANCE_STATE_STOPPED,
          });
          const disk = host.machine.seen(join(instance!.directory, file));
          expect(await recordsOn(disk), `snapshot ${String(n)}`).toBeGreaterThanOrEqual(latest);
          await host.delete('fork');
          await snapshots.delete(snapshot!.id);
          if (n % 10 === 0)
            console.log(`${String(n)} of ${String(SNAPSHOTS)} snapshots, pause p50/p95 ${shown(pauses)} ms`);
        }
        const onLayers = () =>
          `, disk file ${shown(ownBytes, 2 ** 20)} MiB, layers ${String(Math.max(...layers))} at most`;
        const figures = `pause ${shown(pauses)} ms${storage === 'overlay' ? onLayers() : ''}`;
        console.log(`${driver} on ${storage} (${place}), ${String(SNAPSHOTS)} snapshots, p50/p95: ${figures}`);
      },
      SNAPSHOTS * SNAPSHOT_MS,
    );

    // Elsewhere there are no layers, or nothing is copied: a clone shares its blocks.
    if (storage === 'overlay' && place === 'where clones copy')
      it('copies no more in its pauses, and stands on no more layers, for all that was written before', () => {
        // A layer is laid from 8 MiB on; what is written until the pause comes on top.
        expect(quantile(ownBytes, 0.95)).toBeLessThan(16 * 2 ** 20);
        expect(Math.max(...layers)).toBeLessThan(2 * MOST_LAYERS);
      });

    it('goes on writing', async () => {
      const before = await saidDurable(host, 'source');
      await host.logLine('source', (line) => durableOf(line) > before);
    });
  });
}
