import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { Unsupported } from '@offshoot/shared/errors.js';
import { sharedLibraries } from '../shared-libraries.js';
import { fromText } from '../tar/byte-string.js';
import { runTool } from '../tool.js';
import { refused } from './image-refused.js';
import { directory } from './image-tree.js';
import type { ContentStore } from './content-store.js';
import type { Attributes, ImageTree } from './image-tree.js';

/** Where everything of ours is in an imported image. */
export const RUNTIME = 'opt/offshoot/runtime';
/** Runs a program as another user; util-linux, which every Debian and Ubuntu has. */
export const SETPRIV = '/usr/bin/setpriv';
/** busybox programs the init runs. */
const APPLETS = ['halt', 'ifconfig', 'ip', 'ln', 'poweroff', 'reboot', 'route', 'sh', 'sleep', 'sync', 'umount'];
/** What the initial RAM disk mounts something on, and /etc, where the agent writes the guest's names. */
const MOUNT_POINTS = ['dev', 'etc', 'proc', 'run', 'sys', 'tmp'];
/** Whoever was in it before is gone: what is below is ours alone. */
const OURS = 'opt/offshoot';

export interface RuntimeParts {
  /** Static. */
  readonly busybox: string;
  readonly node: string;
  /** Of Node and the agent's native module. */
  readonly libraries: readonly string[];
  readonly agentBundle: string;
  /** `default/root/usr/sbin/init` of the image assets. */
  readonly init: string;
  /** `imported/bin/` of the image assets. */
  readonly programs: string;
  /** Seconds since 1970 for all of it. */
  readonly time: number;
}

/** Files that must be in every imported image. */
export const RUNTIME_FILES = [
  `/${OURS}/init`,
  `/${OURS}/agent.cjs`,
  `/${OURS}/offshoot-guest`,
  `/${RUNTIME}/busybox`,
  `/${RUNTIME}/node`,
  `/${RUNTIME}/setpriv`,
  `/${RUNTIME}/bin/node`,
];

/**
 * Puts agent, Node and init into an image, all below /opt/offshoot, where they need nothing of what the image has: neither a
 * shell nor a C library.
 * @param layer number above all layers of the image
 */
export async function addRuntime(
  tree: ImageTree,
  store: ContentStore,
  parts: RuntimeParts,
  layer: number,
  signal: AbortSignal,
): Promise<void> {
  for (const name of MOUNT_POINTS) ensureFolder(tree, name, parts.time, layer);
  ensureFolder(tree, 'opt', parts.time, layer);
  tree.hide(OURS, layer);
  const attributes = (mode: number): Attributes => ({ mode, uid: 0, gid: 0, mtime: parts.time, xattrs: new Map() });
  const folder = (path: string): void => {
    tree.place(fromText(path), directory(attributes(0o755)), layer);
  };
  const add = async (path: string, source: string, mode: number): Promise<string> => {
    const kept = await store.copy(source);
    tree.place(fromText(path), { kind: 'file', attributes: attributes(mode), ...kept }, layer);
    return kept.content;
  };

  for (const path of [OURS, RUNTIME, `${RUNTIME}/bin`, `${RUNTIME}/lib`]) folder(path);
  await add(`${OURS}/init`, parts.init, 0o755);
  for (const name of await readdir(parts.agentBundle))
    await add(
      // Its first line asks for a Node the image may not have.
      name === 'offshoot-guest' ? `${RUNTIME}/offshoot-guest.cjs` : `${OURS}/${name}`,
      join(parts.agentBundle, name),
      0o644,
    );
  await add(`${OURS}/offshoot-guest`, join(parts.programs, 'offshoot-guest'), 0o755);
  for (const name of ['node', 'as-user']) await add(`${RUNTIME}/bin/${name}`, join(parts.programs, name), 0o755);

  await add(`${RUNTIME}/busybox`, parts.busybox, 0o755);
  for (const name of APPLETS)
    tree.place(
      fromText(`${RUNTIME}/bin/${name}`),
      { kind: 'symlink', attributes: attributes(0o777), target: '../busybox' },
      layer,
    );
  const node = await add(`${RUNTIME}/node`, parts.node, 0o755);
  await runTool('strip', [node], { signal }).catch((error: unknown) => {
    // Symbols are 10 MB that are never read: nice to be without, no more.
    if (!(error instanceof Unsupported)) throw error;
  });
  await add(`${RUNTIME}/setpriv`, SETPRIV, 0o755);
  for (const library of new Set([...parts.libraries, ...(await sharedLibraries(SETPRIV, signal))]))
    await add(`${RUNTIME}/lib/${basename(library)}`, library, 0o755);
}

/** What is mounted or made there by name, from outside: a link would lead elsewhere. */
function ensureFolder(tree: ImageTree, name: string, time: number, layer: number): void {
  const node = tree.lookUp(name);
  if (node === undefined)
    tree.place(name, directory({ mode: 0o755, uid: 0, gid: 0, mtime: time, xattrs: new Map() }), layer);
  else if (node.kind !== 'directory')
    throw refused('IMAGE_CONTENT_INVALID', `its /${name} is a ${node.kind} instead of a folder`);
}
