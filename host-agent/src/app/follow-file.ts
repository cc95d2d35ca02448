import { once } from 'node:events';
import { existsSync, watch, type FSWatcher } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf } from '@offshoot/shared/errors.js';

const CHUNK_BYTES = 64 * 1024;

/**
 * What a log file holds, and with `follow` what is added to it, until the signal ends or the file's directory goes. When
 * the file is replaced by a new one (rotation) reading goes on there. A directory that is still to be made is waited for: an
 * instance is listed a moment before it has its folder.
 */
export async function* followFile(path: string, follow: boolean, signal: AbortSignal): AsyncGenerator<Buffer> {
  const watcher = follow ? await watchOnceThere(dirname(path), signal) : undefined;
  if (follow && watcher === undefined) return;
  let file: FileHandle | undefined;
  try {
    // The watcher is armed before the first read: nothing written in between is missed.
    const change = watcher === undefined ? undefined : changes(watcher, dirname(path), signal);
    for (;;) {
      file ??= await openIfThere(path);
      if (file !== undefined) {
        yield* readOn(file);
        if (await isReplaced(file, path)) {
          yield* readOn(file);
          await file.close();
          file = undefined;
          continue;
        }
      }
      if (change === undefined || !(await change.next())) return;
    }
  } finally {
    watcher?.close();
    await file?.close();
  }
}

/** Undefined when the signal ends before there is such a directory. */
async function watchOnceThere(directory: string, signal: AbortSignal): Promise<FSWatcher | undefined> {
  while (!signal.aborted) {
    try {
      return watch(directory);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
    const parent = await watchOnceThere(dirname(directory), signal);
    // Made before its parent was watched: then nothing more may ever change there.
    if (parent !== undefined && !existsSync(directory)) await once(parent, 'change', { signal }).catch(() => undefined); // looked at again, or over
    parent?.close();
  }
  return undefined;
}

async function* readOn(file: FileHandle): AsyncGenerator<Buffer> {
  for (;;) {
    const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(CHUNK_BYTES), 0, CHUNK_BYTES);
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
  }
}

async function openIfThere(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, 'r');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

async function isReplaced(file: FileHandle, path: string): Promise<boolean> {
  const now = await openIfThere(path);
  if (now === undefined) return false;
  try {
    return (await now.stat()).ino !== (await file.stat()).ino;
  } finally {
    await now.close();
  }
}

/** `next()` resolves true when something changed since the last call, false when it is over. */
function changes(watcher: FSWatcher, directory: string, signal: AbortSignal): { next(): Promise<boolean> } {
  let changed = false;
  let over = signal.aborted;
  const wake = new EventTarget();
  const notify = (): void => {
    wake.dispatchEvent(new Event('wake'));
  };
  watcher.on('change', (event) => {
    changed = true;
    if (event === 'rename' && !existsSync(directory)) over = true;
    notify();
  });
  const end = (): void => {
    over = true;
    notify();
  };
  watcher.on('close', end);
  watcher.on('error', end);
  signal.addEventListener('abort', end, { once: true });
  return {
    async next() {
      while (!changed && !over) await once(wake, 'wake');
      if (over) return false;
      changed = false;
      return true;
    },
  };
}
