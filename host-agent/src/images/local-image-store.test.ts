import { randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import pino from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { AptPackageSource } from './apt-package-source.js';
import { withBuildLock } from './build-lock.js';
import { LocalImageStore } from './local-image-store.js';
import { NO_KEEPING, placeImageOfTest } from './testing/image-of-test.js';
import type { ImportStep } from '../ports/image-store.js';
import type { PackageSource } from './package-source.js';

const ASSETS = fileURLToPath(new URL('../../../images/', import.meta.url));
const DEFAULT = { source: 'default' };
const nothing = (): void => undefined;

let folder: string;
let images: string;
let bundle: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'offshoot-images-'));
  images = join(folder, 'images');
  bundle = await makeBundle(folder);
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** An agent that does nothing, which is all the store cares about. */
async function makeBundle(parent: string): Promise<string> {
  const path = join(parent, 'bundle');
  await mkdir(path, { recursive: true });
  await writeFile(join(path, 'agent.cjs'), '// agent\n');
  await writeFile(join(path, 'offshoot-guest'), '#!/bin/sh\n', { mode: 0o755 });
  return path;
}

const storeWith = (options: { packages?: PackageSource; cacheDirectory?: string; osRelease?: string } = {}) =>
  new LocalImageStore({
    imagesDirectory: images,
    cacheDirectory: join(folder, 'cache'),
    assetsDirectory: ASSETS,
    agentBundle: bundle,
    ...NO_KEEPING,
    logger: pino({ level: 'silent' }),
    ...options,
  });

const placeImage = (id: string, createdAt: string): Promise<string> => placeImageOfTest(images, { id, createdAt });

const OLD = 'abcdef00'.padEnd(64, '0');
const NEW = 'abcdef11'.padEnd(64, '1');

describe('images that are there', () => {
  beforeEach(async () => {
    await placeImage(OLD, '2025-01-01T00:00:00.000Z');
    await placeImage(NEW, '2026-01-01T00:00:00.000Z');
  });

  it('are listed newest first', async () => {
    expect((await storeWith().list()).map(({ id }) => id)).toEqual([NEW, OLD]);
  });

  it('are left out of the list while being built, and when damaged', async () => {
    await mkdir(join(images, '.staging-1'));
    await writeFile(join(images, OLD, 'image.json'), '{"cut');
    await writeFile(join(images, '.build.lock'), '');
    await mkdir(join(images, 'f'.repeat(64)));
    expect((await storeWith().list()).map(({ id }) => id)).toEqual([NEW]);
    await writeFile(join(images, NEW, 'rootfs.ext4'), 'cut');
    expect(await storeWith().list()).toEqual([]);
  });

  it('lose at a start what builds and renamings have left that were cut short, unless somebody builds now', async () => {
    await writeFile(join(images, OLD, '.image.json.1.tmp'), '{"cut');
    await mkdir(join(images, '.staging-1/root'), { recursive: true });
    const store = storeWith();
    const left = async (): Promise<string[]> => (await readdir(images)).filter((name) => name.startsWith('.staging'));
    await withBuildLock(join(images, '.build.lock'), new AbortController().signal, () => store.settle());
    expect(await left()).toEqual(['.staging-1']);
    await store.settle();
    expect(await left()).toEqual([]);
    expect(await readdir(join(images, OLD))).not.toContain('.image.json.1.tmp');
    expect((await store.list()).map(({ id }) => id)).toEqual([NEW, OLD]);
  });

  it('are found by id, by name (the newest), and by an unambiguous beginning of the id of at least 6 characters', async () => {
    const store = storeWith();
    expect((await store.resolve(OLD)).id).toBe(OLD);
    expect((await store.resolve('default')).id).toBe(NEW);
    expect((await store.resolve('abcdef0')).id).toBe(OLD);
    await expect(store.resolve('abcdef')).rejects.toMatchObject({ kind: 'InvalidInput', reason: 'AMBIGUOUS_ID' });
    await expect(store.resolve('abcde')).rejects.toMatchObject({ kind: 'NotFound' });
  });

  it('are named when another is asked for', async () => {
    await expect(storeWith().resolve('ubuntu')).rejects.toMatchObject({
      kind: 'NotFound',
      reason: 'IMAGE_NOT_FOUND',
      message: expect.stringContaining('default (abcdef111111)') as string,
    });
  });
});

describe('images that are not there', () => {
  it('make an empty list, also before there is a directory', async () => {
    expect(await storeWith().list()).toEqual([]);
  });

  it('are not found, with what to do about the default one', async () => {
    await expect(storeWith().resolve('default')).rejects.toMatchObject({
      kind: 'NotFound',
      message: expect.stringContaining('offshoot image build-default') as string,
    });
  });
});

describe('an import that cannot be', () => {
  const empty: PackageSource = {
    architecture: () => Promise.resolve('amd64'),
    find: () => Promise.resolve(undefined),
    fetch: () => Promise.reject(new Error('nothing was found')),
  };

  it('is refused for an unknown source, naming the one there is', async () => {
    await expect(storeWith().import({ source: 'ubuntu', name: 'ubuntu' }, nothing)).rejects.toMatchObject({
      kind: 'InvalidInput',
      reason: 'IMAGE_SOURCE_UNKNOWN',
      message: expect.stringContaining('must be "default", docker://REFERENCE or an absolute path') as string,
    });
  });

  it('says that package lists are missing', async () => {
    await expect(storeWith({ packages: empty }).import(DEFAULT, nothing)).rejects.toMatchObject({
      reason: 'PACKAGE_LISTS_MISSING',
    });
  });

  it('says that the agent is not built', async () => {
    await rm(join(bundle, 'agent.cjs'));
    await expect(storeWith({ packages: empty }).import(DEFAULT, nothing)).rejects.toMatchObject({
      kind: 'InvalidState',
      reason: 'AGENT_BUNDLE_MISSING',
    });
  });

  it('is refused on a system whose packages are not known', async () => {
    await writeFile(join(folder, 'os-release'), 'ID=plan9\n');
    const store = storeWith({ packages: empty, osRelease: join(folder, 'os-release') });
    await expect(store.import(DEFAULT, nothing)).rejects.toMatchObject({ reason: 'DISTRIBUTION_UNKNOWN' });
  });

  it('does not begin once its signal has fired', async () => {
    await expect(storeWith().import(DEFAULT, nothing, AbortSignal.abort())).rejects.toMatchObject({
      kind: 'Aborted',
    });
  });
});

const probe = await mkdtemp(join(tmpdir(), 'offshoot-probe-'));
const hasLists =
  (await new AptPackageSource(probe).find('linux-image-cloud-amd64').catch(() => undefined)) !== undefined;
await rm(probe, { recursive: true });

describe.skipIf(!hasLists)(
  `building the default image${hasLists ? '' : ' (skipped: no apt lists with linux-image-cloud-amd64)'}`,
  () => {
    const TIMEOUT = 120_000;
    let cacheDirectory: string;
    beforeAll(async () => {
      cacheDirectory = await mkdtemp(join(tmpdir(), 'offshoot-cache-'));
    });
    afterAll(() => rm(cacheDirectory, { recursive: true, force: true }));

    /** What an import may leave beside images. */
    const leftovers = async (): Promise<string[]> => (await readdir(images)).filter((name) => name !== '.build.lock');

    it(
      'is one build for all who ask at once, and none for those who ask later',
      async () => {
        const store = storeWith({ cacheDirectory });
        const steps: ImportStep[] = [];
        const [one, other] = await Promise.all([
          store.import(DEFAULT, (step) => steps.push(step)),
          store.import(DEFAULT, nothing),
        ]);
        expect(other).toEqual(one);
        expect(steps.map(({ index }) => index)).toEqual(
          Array.from({ length: steps[0]!.total }, (_, index) => index + 1),
        );
        expect(await leftovers()).toEqual([one.id]);
        for (const path of [one.rootDisk, one.vmlinuz, one.vmlinux, one.initrd])
          expect((await stat(path)).size).toBeGreaterThan(0);
        expect(one.diskBytes).toBe((await stat(one.rootDisk)).size);
        expect(one.diskAllocatedBytes).toBeLessThan(one.diskBytes / 2);

        const later: ImportStep[] = [];
        expect(await storeWith({ cacheDirectory }).import(DEFAULT, (step) => later.push(step))).toEqual(one);
        expect(later).toEqual([]);

        // A cut disk is noticed, and replaced.
        await writeFile(one.rootDisk, 'cut');
        const again = await store.import(DEFAULT, nothing);
        expect(again.id).toBe(one.id);
        expect((await stat(again.rootDisk)).size).toBe(one.diskBytes);
        expect(await leftovers()).toEqual([one.id]);
      },
      TIMEOUT,
    );

    it(
      'is cancelled by its last caller at whatever step, with nothing left behind, and begins anew for the next',
      async () => {
        const store = storeWith({ cacheDirectory });
        for (const at of [1, 2, 3, 4]) {
          const controller = new AbortController();
          const started = store.import(
            DEFAULT,
            ({ index }) => {
              if (index === at) controller.abort();
            },
            controller.signal,
          );
          await expect(started).rejects.toMatchObject({ kind: 'Aborted' });
          expect(await leftovers()).toEqual([]);
        }
        const { stdout } = await execa('ps', ['--ppid', String(process.pid), '-o', 'args='], { reject: false });
        expect(stdout).not.toMatch(/dpkg-deb|mkfs|apt-get|depmod/);
      },
      TIMEOUT,
    );

    it(
      'fails with nothing left behind when the agent in it is empty, and removes what a dead builder left',
      async () => {
        await mkdir(join(images, `.staging-${randomUUID()}`, 'root'), { recursive: true });
        await writeFile(join(bundle, 'agent.cjs'), '');
        await expect(storeWith({ cacheDirectory }).import(DEFAULT, nothing)).rejects.toMatchObject({
          kind: 'Corrupt',
          metadata: { files: '/opt/offshoot/agent.cjs' },
        });
        expect(await leftovers()).toEqual([]);
      },
      TIMEOUT,
    );

    it.each(['agent.cjs', 'agent.cjs.cache'])(
      'fails with nothing left behind when %s is replaced meanwhile',
      async (name) => {
        const replace = ({ step }: ImportStep): void => {
          if (step === 'Writing the root disk') writeFileSync(join(bundle, name), 'new');
        };
        await expect(storeWith({ cacheDirectory }).import(DEFAULT, replace)).rejects.toMatchObject({
          kind: 'InvalidState',
          reason: 'IMAGE_INPUTS_CHANGED',
        });
        expect(await leftovers()).toEqual([]);
      },
      TIMEOUT,
    );

    const isRoot = process.getuid?.() === 0;
    it.skipIf(!isRoot)(
      `is refused when the disk is too full${isRoot ? '' : ' (skipped: mounting a small file system needs root)'}`,
      async () => {
        await mkdir(images);
        await execa('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', images]);
        try {
          await expect(storeWith({ cacheDirectory }).import(DEFAULT, nothing)).rejects.toMatchObject({
            kind: 'Capacity',
            reason: 'DISK_FULL',
          });
          expect(await leftovers()).toEqual([]);
        } finally {
          await execa('umount', [images]);
        }
      },
      TIMEOUT,
    );

    it(
      'takes the busybox of the package where none that is static is installed',
      async () => {
        const bare = new LocalImageStore({
          imagesDirectory: images,
          cacheDirectory,
          assetsDirectory: ASSETS,
          agentBundle: bundle,
          ...NO_KEEPING,
          logger: pino({ level: 'silent' }),
          busybox: join(folder, 'absent'),
        });
        const image = await bare.import(DEFAULT, nothing);
        const record = JSON.parse(await readFile(join(image.rootDisk, '../image.json'), 'utf8')) as {
          inputs: { busybox: string };
        };
        const known = await new AptPackageSource(cacheDirectory).find('busybox-static');
        expect(record.inputs.busybox).toBe(known!.sha256);
      },
      TIMEOUT,
    );
  },
);
