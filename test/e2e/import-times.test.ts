import { readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { OciLayoutOfTest } from '@offshoot/host-agent/images/testing/oci-layout-of-test.js';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { debianTar, missingForDebian } from '../harness/debian-tar.js';
import { deleteImage, importImage } from '../harness/image-directory.js';
import { ImportLab } from '../harness/import-lab.js';
import { timeInTurn } from '../harness/time-in-turn.js';

/** In a test run one shows that both ways work; OFFSHOOT_IMPORT_ROUNDS=10 is a measurement. */
const ROUNDS = Number(process.env.OFFSHOOT_IMPORT_ROUNDS ?? '1');

const hasUmoci = !(await execa('umoci', ['--version'], { reject: false })).failed;
const missing = (await missingForDebian()) || (hasUmoci ? '' : 'umoci');

describe.skipIf(missing !== '')(`an OCI layout of a Debian root${missing && ` (skipped: ${missing})`}`, () => {
  const timeout = 180_000 + ROUNDS * 60_000;
  it('is imported in a time that is told beside that of umoci and mkfs.ext4', { timeout }, async ({ skip }) => {
    await using lab = await ImportLab.start();
    const tar = await debianTar(lab.scratch);
    skip(tar === undefined, 'skipped: no package archive to make a Debian root from');
    const layout = new OciLayoutOfTest(join(lab.scratch, 'layout'))
      .addLayerTar(await readFile(tar!))
      .finish({ Cmd: ['/bin/bash'] }, { name: 'debian' });
    // What is made or read once a machine, not once an image: the default image, and the digests of the agent's parts.
    await importImage(lab.host, layout.path, 'debian');
    await deleteImage(lab.host, 'debian');
    const [bundle, disk] = [join(lab.scratch, 'bundle'), join(lab.scratch, 'disk.ext4')];
    const ways = {
      offshoot: () => importImage(lab.host, layout.path, 'debian'),
      'umoci unpack, mkfs.ext4 -d': async () => {
        await execa('umoci', ['unpack', '--image', `${layout.path}:debian`, bundle]);
        await execa('mkfs.ext4', ['-q', '-F', '-d', join(bundle, 'rootfs'), disk, '1G']);
      },
    };
    const told = await timeInTurn(ways, ROUNDS, async (name) => {
      await execa('sync', ['-f', lab.scratch]); // what one has written is not written while the next is timed
      if (name === 'offshoot') {
        await deleteImage(lab.host, 'debian');
        return;
      }
      expect((await stat(disk)).size).toBe(2 ** 30);
      await rm(bundle, { recursive: true });
      await rm(disk);
    });
    console.log(`Debian minbase, ${told}`);
  });
});
