import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Instance } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import { InstanceState } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findProgram } from '../../../host-agent/src/os/program-path.js';
import { TestPool, missingForPools } from '../../../host-agent/src/storage/zfs/testing/test-pool.js';
import { missingForDaemonUser } from '../../harness/daemon-user.js';
import { SnapshotCalls } from '../../harness/snapshot-calls.js';
import { TestHost } from '../../harness/test-host.js';

const GIB = 2 ** 30;

const task = (number: number) => ({
  mailboxes: [{ name: 'task', payload: { $case: 'json' as const, json: JSON.stringify({ number }) } }],
});

const noFirecracker = (await findProgram('firecracker')) === undefined ? 'no firecracker binary' : '';
const missing = missingForPools() || missingForDaemonUser() || noFirecracker;

// On this machine, which is thrown away: its own users, its own sudoers, and its own udev with the rule that the page gives.
describe.skipIf(missing !== '')(
  `a daemon that is not root, with Firecracker on volumes of ZFS${missing && ` (skipped: ${missing})`}`,
  () => {
    let pool: TestPool;
    let host: TestHost;
    let snapshots: SnapshotCalls;
    let uid: number;
    beforeAll(async () => {
      pool = await TestPool.open(8 * GIB);
      host = await TestHost.start({
        user: { zfsDataset: pool.dataset, etc: "the machine's" },
        settings: { 'limits.boot_seconds': '600', 'limits.pause_seconds': '600' },
      });
      snapshots = new SnapshotCalls(host);
      uid = await host.user.uid();
    });
    afterAll(async () => {
      await host[Symbol.asyncDispose]();
      await pool[Symbol.asyncDispose]();
    });

    /** Whose the devices are that a VM has as its disks. */
    async function assertTheirs({ id, directory, vmmPid }: Instance): Promise<void> {
      expect(JSON.parse(await readFile(join(directory, 'instance.json'), 'utf8'))).toMatchObject({
        driver: 'firecracker',
        storage: 'zfs',
      });
      expect((await stat(`/proc/${String(vmmPid)}`)).uid).toBe(uid);
      const volume = (await pool.disks()).find((name) => name.includes(id) && !name.includes('@'));
      const { uid: owner, mode } = await stat(join('/dev/zvol', volume ?? ''));
      expect({ owner, mode: mode & 0o777 }).toEqual({ owner: uid, mode: 0o600 });
    }

    it('boots a VM from a volume that udev gave to its user', async () => {
      const source = await host.boot('source', 'fork-worker.cjs', {
        driver: 'firecracker',
        memoryBytes: 512n * 2n ** 20n,
      });
      await assertTheirs(source);
      await host.logLine('source', (line) => line === 'armed');
    });

    it('had root fill the base of its image, and make the rest of the volumes', () => {
      const calls = host.user.logged().map((line) => /Z user \d+ (carried out|refused) \["(.*)"\]/.exec(line)!);
      expect(calls.filter(([, outcome]) => outcome === 'refused')).toEqual([]);
      const commands = new Set(calls.map(([, , words = '']) => words.split('" "').slice(0, 2).join(' ')));
      expect([...commands]).toEqual(
        expect.arrayContaining([
          expect.stringMatching(/^copy /) as string,
          ...['zfs create', 'zfs snapshot', 'zfs clone', 'zfs set', 'tap create', 'bridge create'],
        ]),
      );
    });

    it('keeps a snapshot of it, and makes a fork of that, which acknowledges its payload', async () => {
      const { snapshot } = await snapshots.create({ instance: 'source', name: 'moment' });
      const { instance, acks } = await snapshots.fork({ snapshot: snapshot!.id, name: 'of-moment', ...task(1) });
      expect(acks[0]!.detail).toContain('"number":1');
      await assertTheirs(instance!);
      await host.delete('of-moment'); // few at a time: they share one processor
    });

    it('parks it, forks it, and restores it', async () => {
      await host.standby('source', 'task');
      const { instance, acks } = await host.fork({ source: 'source', name: 'fork', ...task(2) });
      expect(acks[0]!.detail).toContain('"number":2');
      await assertTheirs(instance!);
      await host.delete('fork');
      await assertTheirs(await host.restore('source'));
      await host.logLine('source', (line) => line.startsWith('count '));
    });

    it('forks nothing while sudo does not let it, says why, and leaves nothing', async () => {
      const [traces, disks] = [await host.traces(), await pool.disks()];
      await host.user.forbid();
      await expect(host.boot('refused', 'fork-worker.cjs', { driver: 'firecracker' })).rejects.toThrow(
        /NOPASSWD: \S*offshoot-privileged/,
      );
      await host.user.allow();
      expect([await host.traces(), await pool.disks()]).toEqual([traces, disks]);
    });

    it('finds its VM and its volumes again after it was killed', async () => {
      await host.stopDaemon('SIGKILL');
      await host.startDaemon();
      const { instance } = await host.get('source');
      expect(instance).toMatchObject({ state: InstanceState.INSTANCE_STATE_RUNNING, stateReason: '' });
      await assertTheirs(instance!);
    });

    it('leaves no volume of what is deleted', async () => {
      await host.delete('source');
      for (const { id } of await new SnapshotCalls(host).list()) await new SnapshotCalls(host).delete(id);
      expect(await pool.disks()).toEqual([]);
      expect(await host.traces()).toEqual({ rows: [], folders: 0, processes: 0, taps: 0 });
    });
  },
);
