import { readlink } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { InvalidState, errnoOf } from '@offshoot/shared/errors.js';

/** Links followed on the way to one file before the kernel gives up with ELOOP (path_resolution(7)). */
const MAX_LINKS = 40;

/**
 * Makes sure that a symbolic link leads nowhere but into the tree it is in, wherever the tree stands: neither it nor a link
 * on its way is absolute or climbs over `root`. What it leads to need not be there.
 * @param directory names from `root` to the directory the link is in
 * @param target what the link says
 * @throws InvalidState LINK_LEAVES_DIRECTORY
 */
export async function assertLinkStaysInside(
  root: string,
  directory: readonly string[],
  name: string,
  target: string,
): Promise<void> {
  const leaves = (): InvalidState => {
    const path = join(root, ...directory, name);
    return new InvalidState(`${path} is a link that leads out of ${root}: ${target}`, {
      reason: 'LINK_LEAVES_DIRECTORY',
      metadata: { path, target },
    });
  };
  const at = [...directory];
  if (isAbsolute(target)) throw leaves();
  const ahead = target.split('/').reverse();
  for (let links = 1; ;) {
    const part = ahead.pop();
    if (part === undefined) return;
    if (part === '' || part === '.') continue;
    if (part === '..') {
      if (at.pop() === undefined) throw leaves();
      continue;
    }
    const next = await targetOf(join(root, ...at, part));
    if (next === undefined) {
      at.push(part);
      continue;
    }
    if (isAbsolute(next)) throw leaves();
    // A circle: leads nowhere at all.
    if (++links > MAX_LINKS) return;
    ahead.push(...next.split('/').reverse());
  }
}

/** Undefined for what is not a link, or not there. */
async function targetOf(path: string): Promise<string | undefined> {
  try {
    return await readlink(path);
  } catch (error) {
    if (['EINVAL', 'ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}
