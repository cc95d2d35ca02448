import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { deleteImage, importImage, listImages, type ImageDirectory } from '../harness/image-directory.js';
import { ImportLab } from '../harness/import-lab.js';
import { TestHost } from '../harness/test-host.js';

let lab: ImportLab;
let images: ImageDirectory;
let host: TestHost;
beforeAll(async () => {
  lab = await ImportLab.start();
  ({ host, images } = lab);
});
afterAll(() => lab[Symbol.asyncDispose]());

/** A root file system that no other test has. */
function rootOf(name: string): string {
  const root = join(lab.scratch, name);
  mkdirSync(join(root, 'etc'), { recursive: true });
  writeFileSync(join(root, 'etc/name'), name);
  return root;
}

describe('an image', () => {
  it('that instances and snapshots are made of is kept for them, by every daemon that shares it', async () => {
    await using other = await TestHost.start({ settings: { images_dir: images.path } });
    const { id } = await importImage(host, rootOf('shared'), 'shared');
    expect((await listImages(host)).find((each) => each.id === id)?.usage).toMatchObject({
      instances: [],
      snapshots: [],
      stateDirectories: [],
    });
    await host.create({ name: 'made', image: 'shared', workload: undefined });
    const { usage } = (await listImages(host)).find((each) => each.id === id)!;
    expect(usage).toMatchObject({ instances: ['made'], stateDirectories: [] });
    expect(usage!.lastUseTime).toBeInstanceOf(Date);
    await expect(deleteImage(host, 'shared')).rejects.toThrow(/FAILED_PRECONDITION: the image shared .* instance made/);
    await expect(deleteImage(other, 'shared')).rejects.toThrow(
      `FAILED_PRECONDITION: the image shared (${id.slice(0, 12)}) is in use by what the daemon with the state directory ${host.machine.stateDirectory} has`,
    );
    // Whoever is killed has its instances still.
    await host.stopDaemon('SIGKILL');
    await expect(deleteImage(other, 'shared')).rejects.toThrow(/FAILED_PRECONDITION/);
    await host.startDaemon();
    await host.fork({ source: 'made', name: 'forked', fromRunning: true });
    await host.delete('made');
    await expect(deleteImage(host, 'shared')).rejects.toThrow(/instance forked/);
    await host.delete('forked');
    await deleteImage(other, 'shared');
    await expect(host.create({ name: 'late', image: 'shared' })).rejects.toThrow(
      /NOT_FOUND: there is no image "shared"/,
    );
    await expect(host.create({ name: 'late', image: id })).rejects.toThrow(/NOT_FOUND/);
    expect(await host.list()).toEqual([]);
    expect(existsSync(join(images.path, id))).toBe(false);
    expect(await images.leftovers()).toEqual([]);
  });

  it('is deleted once by one request, however often that is made', async () => {
    await importImage(host, rootOf('once'), 'once');
    await deleteImage(host, 'once', 'delete-once');
    await deleteImage(host, 'once', 'delete-once');
    await host.stopDaemon('SIGKILL');
    await host.startDaemon();
    await deleteImage(host, 'once', 'delete-once');
    await expect(deleteImage(host, 'once')).rejects.toThrow(/NOT_FOUND/);
    await expect(deleteImage(host, 'other', 'delete-once')).rejects.toThrow(/INVALID_ARGUMENT: request_id/);
  });

  it('that another is made with cannot be deleted meanwhile', async () => {
    let refused: Promise<unknown> | undefined;
    await importImage(host, rootOf('of-base'), 'of-base', (step) => {
      if (step === 'Writing the root disk') refused = deleteImage(host, 'default').catch((error: unknown) => error);
    });
    expect(String(await refused)).toMatch(/ABORTED: the image [0-9a-f]{12} is being used at this moment/);
    expect((await listImages(host)).map(({ name }) => name)).toContain('default');
  });

  it('goes when a later one takes its room, but not while it is used', async () => {
    const first = await importImage(host, rootOf('first'), 'first');
    const used = await importImage(host, rootOf('used'), 'used');
    await host.create({ name: 'user', image: 'used', workload: undefined });
    await using small = await TestHost.start({ settings: { images_dir: images.path, 'images.max_bytes': '1' } });
    const last = await importImage(small, rootOf('last'), 'last');
    expect((await listImages(small)).map(({ id }) => id)).toEqual([last.id, used.id]);
    expect(existsSync(join(images.path, first.id))).toBe(false);
    expect(await images.leftovers()).toEqual([]);
    await host.delete('user');
  });
});
