import { chmod, lstat, mkdir, mkdtemp, rename, rm, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { Conflict, errnoOf, InvalidInput, messageOf, OffshootError, Unreachable } from '@offshoot/shared/errors.js';
import { MAX_SOCKET_PATH } from './contract/listen-address.js';

/** Owner and group may talk to the daemon: who may, may boot VMs. */
const SOCKET_MODE = 0o660;

/** What the folder's name becomes for the moment of binding; mkdtemp adds six characters. */
const TEMPORARY_SUFFIX = '/.sXXXXXX/s';

/** A socket in its place, ours until removed. */
export interface ClaimedSocket {
  /** Removes the socket file, unless somebody has put another there since. */
  remove(): Promise<void>;
}

/**
 * Has `bind` listen on a Unix socket that appears at `path` all at once and with its final mode: bound in a folder nobody
 * else may enter, then renamed, which also replaces what a dead daemon left there.
 * @throws Conflict when something answers at `path`; InvalidInput when what is there is no socket
 */
export async function claimSocket(path: string, bind: (temporary: string) => Promise<void>): Promise<ClaimedSocket> {
  const parent = dirname(path);
  const longest = MAX_SOCKET_PATH - TEMPORARY_SUFFIX.length;
  if (Buffer.byteLength(parent) > longest)
    throw InvalidInput.field('listen', `the socket's folder must be at most ${String(longest)} bytes long: ${parent}`);
  try {
    await mkdir(parent, { recursive: true, mode: 0o755 });
    await refuseUnlessFree(path);
    return await bindAside(path, parent, bind);
  } catch (error) {
    if (error instanceof OffshootError) throw error;
    throw new Unreachable(`cannot listen on ${path}: ${messageOf(error)}`, { reason: 'LISTEN_FAILED', cause: error });
  }
}

async function bindAside(
  path: string,
  parent: string,
  bind: (temporary: string) => Promise<void>,
): Promise<ClaimedSocket> {
  const folder = await mkdtemp(join(parent, '.s'));
  try {
    const temporary = join(folder, 's');
    await bind(temporary);
    await chmod(temporary, SOCKET_MODE);
    const { ino } = await lstat(temporary);
    await rename(temporary, path);
    return {
      remove: async () => {
        const now = await lstat(path).catch(() => undefined);
        if (now?.ino === ino) await unlink(path);
      },
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function refuseUnlessFree(path: string): Promise<void> {
  const there = await lstat(path).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (there === undefined) return;
  if (!there.isSocket())
    throw InvalidInput.field('listen', `must be a path that is free or a socket; ${path} is something else`);
  const error = await connectError(path);
  if (error === undefined)
    throw new Conflict(`another daemon listens on ${path}`, { reason: 'ADDRESS_IN_USE', metadata: { path } });
  if (errnoOf(error) !== 'ECONNREFUSED' && errnoOf(error) !== 'ENOENT') throw error; // it cannot be told whether a daemon listens there
}

/** What connecting fails with; undefined when somebody accepts. */
function connectError(path: string): Promise<Error | undefined> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(undefined);
    });
    socket.once('error', resolve);
  });
}
