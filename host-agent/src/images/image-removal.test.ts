import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InvalidState } from '@offshoot/shared/errors.js';
import { execa } from 'execa';
import pino from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseImageId, type ImageId } from '../domain/ids.js';
import { holdImage } from './image-lock.js';
import { LocalImageStore, type LocalImageStoreOptions } from './local-image-store.js';
import { NO_KEEPING, placeImageOfTest } from './testing/image-of-test.js';
import { LockedElsewhere } from './testing/locked-elsewhere.js';

const A = parseImageId('a'.repeat(64));
const B = parseImageId('b'.repeat(64));
const logger = pino({ level: 'silent' });
const isRoot = process.getuid?.() === 0;

let folder: string;
let images: string;
let instances: { name: string; image: ImageId }[];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ofs-'));
  images = join(folder, 'images');
  instances = [];
  await mkdir(images);
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

/** The images as a daemon has them. @param state its state directory, which is there */
async function daemon(state: string, options: Partial<LocalImageStoreOptions> = {}): Promise<LocalImageStore> {
  await mkdir(join(folder, state), { recursive: true });
  await writeFile(join(folder, state, 'state.db'), '');
  return new LocalImageStore({
    ...NO_KEEPING,
    imagesDirectory: images,
    cacheDirectory: join(folder, 'cache'),
    assetsDirectory: folder,
    agentBundle: folder,
    stateDirectory: join(folder, state),
    logger,
    ...options,
  });
}

/** One whose instances the test decides on. */
const daemonWithInstances = (options: Partial<LocalImageStoreOptions> = {}): Promise<LocalImageStore> =>
  daemon('own', {
    ownUsersOf: (id) => ({
      instances: instances.filter(({ image }) => image === id).map(({ name }) => name),
      snapshots: [],
    }),
    ...options,
  });

const place = (id: ImageId, name: string, createdAt = '2026-01-01T00:00:00.000Z', diskBytes = 11): Promise<string> =>
  placeImageOfTest(images, { id, name, createdAt, diskBytes });

const remove = async (store: LocalImageStore, reference: string): Promise<void> =>
  store.delete(await store.resolveToDelete(reference));

const there = (): Promise<string[]> => readdir(images);

const refusal = (kind: string, reason: string, message = /./) => ({
  kind,
  reason,
  message: expect.stringMatching(message) as string,
});

describe('an image that is deleted', () => {
  it.each([
    ['its name', 'web'],
    ['its id', A],
    ['the beginning of its id', 'aaaaaa'],
  ])('by %s is gone with everything of it', async (_, reference) => {
    await place(A, 'web');
    const gone: ImageId[] = [];
    const forgetImage = (id: ImageId): Promise<void> => Promise.resolve(void gone.push(id));
    const store = await daemonWithInstances({ disks: { ...NO_KEEPING.disks, forgetImage } });
    await remove(store, reference);
    expect(await store.list()).toEqual([]);
    await store.emptyTrash();
    expect(await there()).toEqual([]);
    expect(gone).toEqual([A]);
    await expect(remove(store, reference)).rejects.toMatchObject(refusal('NotFound', 'IMAGE_NOT_FOUND'));
  });

  it('gives its name back to the one that had it before', async () => {
    await place(A, 'web', '2026-01-01T00:00:00.000Z');
    await place(B, 'web', '2026-01-02T00:00:00.000Z');
    const store = await daemonWithInstances();
    await remove(store, 'web');
    expect((await store.resolve('web')).id).toBe(A);
  });

  it('may be one that cannot be used any more, by its id alone', async () => {
    await place(A, 'web');
    await writeFile(join(images, A, 'image.json'), '{"cut');
    const store = await daemonWithInstances();
    await expect(remove(store, 'web')).rejects.toMatchObject(refusal('NotFound', 'IMAGE_NOT_FOUND'));
    instances.push({ name: 'vm', image: A });
    await expect(remove(store, A)).rejects.toMatchObject(
      refusal('InvalidState', 'IMAGE_IN_USE', /^the image that cannot be used \(a{12}\) is in use by the instance vm/),
    );
    instances.length = 0;
    await remove(store, A);
    await store.emptyTrash();
    expect(await there()).toEqual([]);
  });

  it('is not there from then on, but is for as long as nobody can know', async () => {
    const store = await daemonWithInstances();
    expect(await store.isThere(A)).toBe(false);
    await place(A, 'web');
    await writeFile(join(images, A, 'image.json'), '{"cut');
    expect(await store.isThere(A)).toBe(true);
    await remove(store, A);
    expect(await store.isThere(A)).toBe(false);
    await rm(images, { recursive: true });
    await writeFile(images, 'no directory');
    expect(await store.isThere(A)).toBe(true);
  });

  it.each([
    ['renamed', '.trash-1'],
    ['renamed and half removed', '.trash-2/rest'],
  ])('by a daemon that was killed when it was %s is gone after the next start', async (_, left) => {
    await place(B, 'kept');
    await mkdir(join(images, left), { recursive: true });
    await writeFile(join(images, left, 'rootfs.ext4'), 'disk');
    await (await daemonWithInstances()).settle();
    expect(await there()).toEqual([B]);
  });

  it.skipIf(!isRoot)(
    `and cannot be removed now, keeps nothing else from being tidied${isRoot ? '' : ' (skipped: mounting needs root)'}`,
    async () => {
      await execa('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', images]);
      try {
        await place(A, 'web');
        await mkdir(join(images, '.trash-1'));
        await execa('mount', ['-o', 'remount,ro', images]);
        const swept: ImageId[][] = [];
        const sweepImages = (kept: ReadonlySet<ImageId>): Promise<string[]> => {
          swept.push([...kept]);
          return Promise.resolve([]);
        };
        const store = await daemonWithInstances({ disks: { ...NO_KEEPING.disks, sweepImages } });
        await store.settle();
        await store.emptyTrash();
        expect(swept).toEqual([[A]]);
        await execa('mount', ['-o', 'remount,rw', images]);
        await store.settle();
        expect(await there()).toEqual([A]);
      } finally {
        await execa('umount', [images]);
      }
    },
  );

  it('by a daemon that was killed before it was renamed is there whole', async () => {
    await place(A, 'web');
    const killed = await LockedElsewhere.take(join(images, A), '--exclusive');
    await killed.kill();
    const store = await daemonWithInstances();
    await store.settle();
    expect((await store.resolve('web')).id).toBe(A);
    await remove(store, 'web');
    expect(await store.list()).toEqual([]);
  });
});

describe('an image in use', () => {
  it('is not deleted, nor moved, and its users are named', async () => {
    const path = await place(A, 'web');
    const { ino } = await stat(path);
    const touched: ImageId[] = [];
    const forgetImage = (id: ImageId): Promise<void> => Promise.resolve(void touched.push(id));
    const store = await daemon('own', {
      ownUsersOf: () => ({ instances: ['i1', 'i2', 'i3', 'i4', 'i5', 'i6'], snapshots: ['s'] }),
      disks: { ...NO_KEEPING.disks, forgetImage },
    });
    await expect(remove(store, 'web')).rejects.toMatchObject({
      ...refusal('InvalidState', 'IMAGE_IN_USE', /by the instances i1, i2, i3, i4, i5 and 1 more, the snapshot s: /),
      metadata: { image: A, instances: 'i1,i2,i3,i4,i5,i6', snapshots: 's' },
    });
    expect((await stat(path)).ino).toBe(ino);
    expect(touched).toEqual([]);
  });

  it('is not deleted where a disk that no instance has stands on what is kept of it', async () => {
    await place(A, 'web');
    const inUse = new InvalidState('somebody cloned it', { reason: 'DISK_IN_USE' });
    const store = await daemonWithInstances({
      disks: { ...NO_KEEPING.disks, forgetImage: () => Promise.reject(inUse) },
    });
    await expect(remove(store, 'web')).rejects.toBe(inUse);
    expect((await store.resolve('web')).id).toBe(A);
    store.use(A); // nobody has it locked
  });

  it('by another daemon is not deleted, as long as that one has anything of it', async () => {
    await place(A, 'web');
    const [own, other] = [await daemon('one'), await daemonWithInstances()];
    instances.push({ name: 'vm', image: A });
    other.use(A);
    await expect(remove(own, 'web')).rejects.toMatchObject({
      ...refusal('InvalidState', 'IMAGE_IN_USE', /what the daemon with the state directory .*\/own has/),
      metadata: { state_directories: join(folder, 'own') },
    });
    expect(own.usageOf(A).users).toEqual({ instances: [], snapshots: [], daemons: [join(folder, 'own')] });
    other.release(A); // one of several
    expect(own.usageOf(A).users.daemons).toHaveLength(1);
    instances.length = 0;
    other.release(A);
    await remove(own, 'web');
    expect(await own.list()).toEqual([]);
  });

  it('is not by a daemon that is no more; and is, by one that has not said so', async () => {
    await place(A, 'web');
    await place(B, 'db');
    const [own, other] = [await daemon('one'), await daemonWithInstances()];
    other.use(A);
    instances.push({ name: 'vm', image: B });
    await other.settle();
    expect(own.usageOf(A).users.daemons).toEqual([]);
    expect(own.usageOf(B).users.daemons).toEqual([join(folder, 'own')]);
    await rm(join(folder, 'own'), { recursive: true });
    expect(own.usageOf(B).users.daemons).toEqual([]);
    await own.settle();
    expect((await readdir(join(images, B))).filter((name) => name.startsWith('used-by-'))).toEqual([]);
  });

  it.skipIf(!isRoot)(
    `can be used by a daemon that may not write there${isRoot ? '' : ' (skipped: mounting needs root)'}`,
    async () => {
      await execa('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', images]);
      try {
        await place(A, 'web');
        await execa('mount', ['-o', 'remount,ro', images]);
        const store = await daemonWithInstances();
        instances.push({ name: 'vm', image: A });
        store.use(A);
        await store.settle();
        expect(store.usageOf(A)).toMatchObject({ lastUse: undefined, users: { instances: ['vm'] } });
        store.release(A);
      } finally {
        await execa('umount', [images]);
      }
    },
  );

  it('says when it was used last, whoever used it', async () => {
    await place(A, 'web');
    const [own, other] = [await daemon('one'), await daemonWithInstances()];
    expect(own.usageOf(A).lastUse).toBeUndefined();
    const before = Date.now();
    other.use(A);
    const { lastUse } = own.usageOf(A);
    expect(Date.parse(lastUse!)).toBeGreaterThanOrEqual(before - 1);
    other.release(A);
    expect(own.usageOf(A)).toMatchObject({ lastUse, users: { daemons: [] } });
  });
});

describe('an image that one deletes while another begins to use it', () => {
  /** A deletion that has the image and waits. */
  function deletionUnderWay(): { disks: LocalImageStoreOptions['disks']; begun: Promise<void>; goOn: () => void } {
    let [goOn, begin] = [(): void => undefined, (): void => undefined];
    const begun = new Promise<void>((resolve) => (begin = resolve));
    const held = new Promise<void>((resolve) => (goOn = resolve));
    const forgetImage = (): Promise<void> => {
      begin();
      return held;
    };
    return { disks: { ...NO_KEEPING.disks, forgetImage }, begun, goOn };
  }

  it('is used where the use came first', async () => {
    await place(A, 'web');
    const store = await daemonWithInstances();
    const found = await store.resolve('web');
    instances.push({ name: 'vm', image: found.id });
    store.use(found.id);
    await expect(remove(store, 'web')).rejects.toMatchObject(refusal('InvalidState', 'IMAGE_IN_USE', /instance vm/));
  });

  it.each([
    ['this daemon', 'own'],
    ['another daemon', 'other'],
  ])('is deleted where the deletion came first, and %s is told so', async (_, state) => {
    await place(A, 'web');
    const { disks, begun, goOn } = deletionUnderWay();
    const store = await daemonWithInstances({ disks });
    const other = state === 'own' ? store : await daemon(state);
    const found = await other.resolve('web');
    const deleted = remove(store, 'web');
    await begun;
    expect(() => {
      other.use(found.id);
    }).toThrow(expect.objectContaining(refusal('Conflict', 'IMAGE_BUSY', /is being deleted/)) as Error);
    goOn();
    await deleted;
    expect(() => {
      other.use(found.id);
    }).toThrow(expect.objectContaining(refusal('NotFound', 'IMAGE_NOT_FOUND', /was deleted meanwhile/)) as Error);
    await store.emptyTrash();
    expect(await there()).toEqual([]);
  });

  it('in another process: whoever comes second is refused', async () => {
    await place(A, 'web');
    const store = await daemonWithInstances();
    using deleting = await LockedElsewhere.take(join(images, A), '--exclusive');
    expect(() => {
      store.use(A);
    }).toThrow(expect.objectContaining(refusal('Conflict', 'IMAGE_BUSY', /is being deleted/)) as Error);
    expect((await readdir(join(images, A))).filter((name) => name.startsWith('used-by-'))).toEqual([]);
    await deleting.letGo();
    using reading = await LockedElsewhere.take(join(images, A), '--shared');
    await expect(remove(store, 'web')).rejects.toMatchObject(refusal('Conflict', 'IMAGE_BUSY', /is being used/));
    store.use(A); // with others
    await reading.letGo();
    await remove(store, 'web');
  });

  it('is not held any more when it was made anew under the same id', async () => {
    await place(A, 'web');
    {
      using _hold = holdImage(join(images, A));
      await rm(join(images, A), { recursive: true });
      await place(A, 'web');
      const store = await daemonWithInstances();
      await remove(store, 'web');
    }
    expect((await there()).filter((name) => !name.startsWith('.trash-'))).toEqual([]);
  });
});
