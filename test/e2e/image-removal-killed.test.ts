import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FileSteps, type FileStep } from '../harness/file-steps.js';
import { deleteImage, importImage, listImages } from '../harness/image-directory.js';
import { ImportLab } from '../harness/import-lab.js';
import { TestHost } from '../harness/test-host.js';

const NAME = 'victim';

interface Removal {
  readonly removal: string;
  /** The daemon's `images.max_bytes`. */
  readonly maxBytes: string;
  /** Makes the daemon remove it. */
  readonly remove: (host: TestHost, requestId: string) => Promise<unknown>;
}

const REMOVALS: readonly Removal[] = [
  {
    removal: 'DeleteImage',
    maxBytes: '0',
    remove: (host, requestId) => deleteImage(host, NAME, requestId),
  },
  // Of an image that is there already: nothing else is written.
  { removal: 'images.max_bytes', maxBytes: '1', remove: (host) => importImage(host, 'default', 'default') },
];

/** So many calls are made before the daemon is killed: right before the first change, and right after each. */
function pointsOf(steps: readonly FileStep[]): number[] {
  const changes = steps.flatMap(({ changed }, index) => (changed ? [index + 1] : []));
  return [changes[0]! - 1, ...changes];
}

describe.each(REMOVALS)('a daemon killed at any step of the removal of an image, by $removal,', (subject) => {
  const { maxBytes, remove } = subject;
  let lab: ImportLab;
  let steps: FileSteps;
  /** The one that is killed; the lab's own, which shares the images, runs on and makes the image anew. */
  let host: TestHost;
  let id: string;

  beforeAll(async () => {
    lab = await ImportLab.start();
    steps = new FileSteps(lab.images.path);
    const settings = { images_dir: lab.images.path, 'images.max_bytes': maxBytes };
    host = await TestHost.start({ settings, environment: steps.environment });
    mkdirSync(join(lab.scratch, 'root/etc'), { recursive: true });
    writeFileSync(join(lab.scratch, 'root/etc/name'), NAME);
    if (maxBytes !== '0') await remove(host, 'older'); // older images that the tests' cache has are no part of this
  });
  afterAll(async () => {
    await host[Symbol.asyncDispose]();
    steps[Symbol.dispose]();
    await lab[Symbol.asyncDispose]();
  });

  /** As it is after use by a daemon that is no more. */
  async function place(): Promise<readonly string[]> {
    ({ id } = await importImage(lab.host, join(lab.scratch, 'root'), NAME));
    const folder = join(lab.images.path, id);
    writeFileSync(join(folder, 'last-use'), '');
    symlinkSync(join(lab.scratch, 'gone'), join(folder, 'used-by-0123456789abcdef'));
    expect(await isThere()).toBe(true); // what comes after is what the daemon does
    return readdirSync(folder);
  }

  const isThere = async (): Promise<boolean> => (await listImages(host)).some((image) => image.id === id);

  it('has it whole at its next start, or has nothing of it; and it can be imported again', async () => {
    const files = await place();
    const traced = await steps.of(() => remove(host, 'traced'));
    expect(await isThere()).toBe(false);
    // It is taken away at once, and then file by file: none of them goes unnoticed.
    const changes = traced.filter(({ changed }) => changed);
    expect(changes[0]).toMatchObject({ call: 'renameSync', place: id });
    const removed = changes.filter(({ call }) => call === 'unlink').map(({ place }) => place.split('/')[1]);
    expect(removed.sort()).toEqual([...files].sort());
    expect(changes).toHaveLength(1 + files.length + 1);

    const outcomes: string[] = [];
    for (const point of pointsOf(traced)) {
      await place();
      await steps.killAfter(point, () => remove(host, String(point)));
      await host.stopDaemon('SIGKILL'); // waits until it is gone
      await host.startDaemon();
      expect(await lab.images.leftovers(), `after ${String(point)} calls`).toEqual([]);
      const there = readdirSync(lab.images.path);
      expect(await isThere()).toBe(there.includes(id));
      outcomes.push(there.includes(id) ? 'whole' : 'gone');
      // Whatever was said of use by the daemon that is no more.
      if (there.includes(id))
        expect(readdirSync(join(lab.images.path, id)).sort()).toEqual(
          files.filter((name) => !name.startsWith('used-by-')).sort(),
        );
      // Whoever asks again is told that it was done, and it is.
      await remove(host, String(point));
      expect(await isThere()).toBe(false);
    }
    expect(outcomes).toEqual(['whole', ...changes.map(() => 'gone')]);
  }, 600_000);
});
