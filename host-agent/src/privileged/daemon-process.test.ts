import { chmod, chown, rm, writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { PrivilegedClient } from '../os/privileged-client.js';
import { openZfsAccess, type ZfsAccess } from '../storage/zfs/zfs-access.js';
import { ZfsFailed } from '../storage/zfs/zfs-program.js';
import { HelperLab, ROOT, missingForCarrier } from './testing/helper-lab.js';

// Programs are run, on machines that do other things too.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const CARRIERS = (['a double of sudo', 'the real sudo'] as const).map((carrier) => ({
  carrier,
  missing: missingForCarrier(carrier),
}));

for (const { carrier, missing } of CARRIERS)
  describe.skipIf(missing !== '')(
    `a daemon that is not root, with ${carrier}${missing && ` (skipped: ${missing})`}`,
    () => {
      let lab: HelperLab;
      beforeEach(async () => {
        lab = await HelperLab.open(carrier);
      });
      afterEach(() => lab[Symbol.asyncDispose]());

      const access = (dataset = ROOT, version = '1.2.3'): Promise<ZfsAccess> =>
        openZfsAccess({ dataset, version, client: new PrivilegedClient(lab.helper, lab.carrier) });

      it('has root run zfs, and gets what that prints', async () => {
        const { program } = await access();
        const printed = await program.run(['destroy', '-r', `${ROOT}/instances/x`]);
        expect(printed).toMatch(new RegExp(`^<destroy><-r><${ROOT}/instances/x>\n`));
      });

      it('tells the refusals of zfs apart, as where it runs it itself', async () => {
        const { program } = await access();
        await lab.installZfs(`echo "cannot open '${ROOT}/x': dataset does not exist" >&2; exit 1`);
        const error: unknown = await program.run(['promote', `${ROOT}/x`]).catch((thrown: unknown) => thrown);
        expect(error).toBeInstanceOf(ZfsFailed);
        const message = `zfs promote ${ROOT}/x: cannot open '${ROOT}/x': dataset does not exist`;
        expect(error).toMatchObject({ refusal: 'missing', message });
      });

      it('finds its dataset by the exact answer', async () => {
        const { zfs } = await access();
        await expect(zfs!.probe()).rejects.toMatchObject({ reason: 'ZFS_DATASET_MISSING' });
        await lab.installZfs(`echo ${ROOT}`);
        await zfs!.probe();
        expect(zfs).toMatchObject({ dataset: ROOT, asRoot: true });
      });

      it('is not started with a helper of another version, or one that lacks zfs, or has another dataset', async () => {
        await expect(access(ROOT, '1.2.4')).rejects.toMatchObject({ reason: 'HELPER_VERSION' });
        const other = await access('tank/other');
        await expect(other.zfs!.probe()).rejects.toMatchObject({
          reason: 'HELPER_REFUSED',
          message: expect.stringContaining('ROOT has to be tank/offshoot, not "tank/other"') as string,
        });
        await lab.removeZfs();
        await expect(access()).rejects.toMatchObject({ reason: 'HELPER_CAPABILITY' });
        expect((await access('')).zfs).toBeUndefined();
      });

      it('sees whether others than root may write to its helper', async () => {
        const { helper } = await access();
        expect(await helper!.isRootsAlone()).toBe(true);
        await chmod(lab.helper, 0o775);
        expect(await helper!.isRootsAlone()).toBe(false);
        await chmod(lab.helper, 0o755);
        await chown(lab.helper, 65534, 65534);
        expect(await helper!.isRootsAlone()).toBe(false);
      });

      it('is told that sudo does not let it', async () => {
        const helper = `${lab.helper}-other`;
        const client = new PrivilegedClient(helper, lab.carrier);
        await expect(client.call(['version'])).rejects.toMatchObject({
          reason: 'HELPER_UNREACHABLE',
          message: expect.stringContaining('sudo: a password is required') as string,
        });
      });

      it('lets a command that has begun come to its end, and then goes by its caller', async () => {
        const { program } = await access();
        const caller = new AbortController();
        await lab.installZfs(`while [ ! -e ${lab.state}/go ]; do /usr/bin/sleep 0.02; done; echo >${lab.state}/done`);
        const running = program.run(['promote', `${ROOT}/x`], caller.signal);
        caller.abort(new Error('gone'));
        await writeFile(`${lab.state}/go`, '');
        await expect(running).rejects.toThrow('gone');
        await rm(`${lab.state}/done`);
        await expect(program.run(['promote', `${ROOT}/x`], caller.signal)).rejects.toThrow('gone');
        await expect(rm(`${lab.state}/done`)).rejects.toThrow('ENOENT');
      });
    },
  );
