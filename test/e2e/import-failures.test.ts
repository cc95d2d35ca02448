import { mkdirSync, mkdtempSync, truncateSync, writeFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { OciLayoutOfTest } from '@offshoot/host-agent/images/testing/oci-layout-of-test.js';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { IMAGES } from '../harness/cache.js';
import { importImage, listImages, type ImageDirectory } from '../harness/image-directory.js';
import { ImportLab } from '../harness/import-lab.js';
import { TestHost } from '../harness/test-host.js';
import { isRoot } from '../harness/test-machine.js';

let lab: ImportLab;
let images: ImageDirectory;
let host: TestHost;
let scratch: string;
beforeAll(async () => {
  lab = await ImportLab.start();
  ({ host, images, scratch } = lab);
});
afterAll(() => lab[Symbol.asyncDispose]());

/** A root file system that no other test has. */
function rootOf(name: string): string {
  const root = join(scratch, name);
  mkdirSync(join(root, 'etc'), { recursive: true });
  writeFileSync(join(root, 'etc/name'), name);
  return root;
}

async function names(of = host): Promise<string[]> {
  return (await listImages(of)).map(({ name }) => name);
}

describe('an import', () => {
  it('of the same content is none, whatever it is called, and the name goes along', async () => {
    const root = rootOf('same');
    const first = await importImage(host, root, 'one-name');
    const steps: string[] = [];
    expect((await importImage(host, root, 'one-name', (step) => steps.push(step))).id).toBe(first.id);
    expect((await importImage(host, root, 'other-name', (step) => steps.push(step))).id).toBe(first.id);
    expect(steps).toEqual([]);
    expect(await names()).toContain('other-name');
    expect(await names()).not.toContain('one-name');
  });

  it('of what was imported before something else had its name has the name again', async () => {
    const older = rootOf('older');
    const { id } = await importImage(host, older, 'moving');
    expect((await importImage(host, rootOf('newer'), 'moving')).id).not.toBe(id);
    await importImage(host, older, 'moving');
    expect((await listImages(host)).find(({ name }) => name === 'moving')?.id).toBe(id);
  });

  it('by two daemons at once is one, and both have the image', async () => {
    await using other = await TestHost.start({ settings: { images_dir: images.path } });
    const steps: string[] = [];
    const onStep = (step: string): void => {
      steps.push(step);
    };
    const root = rootOf('two');
    const [one, two] = await Promise.all([
      importImage(host, root, 'two', onStep),
      importImage(other, root, 'two', onStep),
    ]);
    expect(one).toEqual(two);
    expect(steps.filter((step) => step === 'Writing the root disk')).toHaveLength(1);
    expect(await images.leftovers()).toEqual([]);
  });

  it('in a daemon that is killed at whatever step leaves no image, and the next one removes what it left', async () => {
    const root = rootOf('killed');
    const seen = new Set<string>();
    // Until it gets to the end.
    for (;;) {
      const failed = await importImage(host, root, 'killed', (step) => {
        if (seen.has(step)) return;
        seen.add(step);
        process.kill(host.daemon.pid, 'SIGKILL');
      }).catch((error: unknown) => error);
      if (!(failed instanceof Error)) break;
      await host.stopDaemon('SIGKILL');
      await host.startDaemon();
      expect(await names()).not.toContain('killed');
      expect(await images.leftovers(), [...seen].at(-1)).toEqual([]);
    }
    expect([...seen]).toEqual([
      'Opening the source',
      'Putting its layers together',
      'Adding the guest agent',
      'Writing the root disk',
      'Checking the root disk',
      'Publishing the image',
    ]);
    expect(await names()).toContain('killed');
    expect(await images.leftovers()).toEqual([]);
  });

  it('that its caller gives up leaves nothing', async () => {
    const root = rootOf('given-up');
    for (const at of ['Putting its layers together', 'Writing the root disk']) {
      await importImage(host, root, 'given-up', (step) => {
        if (step === at) throw new Error('given up');
      }).catch(() => undefined);
      expect(await names()).not.toContain('given-up');
    }
    await importImage(host, root, 'given-up');
    expect(await images.leftovers()).toEqual([]);
  });

  it('of a damaged image fails with nothing left', async () => {
    const layout = new OciLayoutOfTest(join(scratch, 'damaged'));
    await layout.addLayer(rootOf('damaged-root'));
    truncateSync(layout.blobPath(layout.layers[0]!.digest), 20);
    layout.finish({ Cmd: ['/run'] });
    await expect(importImage(host, layout.path, 'damaged')).rejects.toThrow(/has 20 bytes instead of/);
    writeFileSync(join(scratch, 'bad.tar'), Buffer.concat([Buffer.alloc(512, 'x'), Buffer.alloc(1024)]));
    await expect(importImage(host, join(scratch, 'bad.tar'), 'damaged')).rejects.toThrow(/neither a tar/);
    expect(await names()).not.toContain('damaged');
    expect(await images.leftovers()).toEqual([]);
  });

  it('of a user the image does not know, or of a root that cannot boot, fails with nothing left', async () => {
    const layout = new OciLayoutOfTest(join(scratch, 'stranger'));
    await layout.addLayer(rootOf('stranger-root'));
    layout.finish({ User: 'stranger' });
    await expect(importImage(host, layout.path, 'refused')).rejects.toThrow(/the user "stranger"/);
    const root = rootOf('file-for-folder');
    writeFileSync(join(root, 'proc'), '');
    await expect(importImage(host, root, 'refused')).rejects.toThrow(/its \/proc is a file/);
    expect(await images.leftovers()).toEqual([]);
  });

  it('needs a name that is one', async () => {
    for (const name of ['', 'default', 'UPPER', 'a/b'])
      await expect(importImage(host, rootOf('unnamed'), name)).rejects.toThrow(/INVALID_ARGUMENT: name/);
  });

  it.skipIf(!isRoot)(
    `is refused when the disk is too full${isRoot ? '' : ' (skipped: mounting a small file system needs root)'}`,
    async () => {
      const small = mkdtempSync(join(scratch, 'small-'));
      await execa('mount', ['-t', 'tmpfs', '-o', 'size=1000m', 'tmpfs', small]);
      try {
        const base = (await listImages(host)).find(({ name }) => name === 'default')!.id;
        await execa('cp', ['-r', '--sparse=always', join(IMAGES, base), small]);
        await using full = await TestHost.start({ settings: { images_dir: small } });
        await expect(importImage(full, rootOf('full'), 'full')).rejects.toThrow(/RESOURCE_EXHAUSTED/);
        expect((await readdir(small)).filter((name) => !name.startsWith('.'))).toEqual([base]);
        expect((await readdir(small)).filter((name) => name.startsWith('.staging'))).toEqual([]);
      } finally {
        await execa('umount', [small]);
      }
    },
  );
});
