import { open } from 'node:fs/promises';
import { fromText } from '../tar/byte-string.js';
import { refused } from './image-refused.js';
import type { ImageUser } from '../../ports/image-store.js';
import type { ImageTree } from './image-tree.js';

/** Of the largest directories of users that are files. */
const MAX_FILE = 2 ** 20;

/** uid_t and gid_t have 32 bits; all of them set means "leave it as it is" (setresuid(2)), which would be root. */
const isId = (text: string): boolean => /^\d{1,10}$/.test(text) && Number(text) < 2 ** 32 - 1;

/**
 * Whom `USER[:GROUP]` of an image's configuration means, by the image's own passwd(5) and group(5), as container runtimes
 * look it up: without a group the user's own ones, with one that alone.
 * @throws InvalidInput IMAGE_CONTENT_INVALID for a name that is not there
 */
export async function findUser(tree: ImageTree, text: string): Promise<ImageUser> {
  const [name = '', group] = text === '' ? ['0'] : text.split(':', 2);
  const users = await readRecords(tree, 'etc/passwd');
  const groups = await readRecords(tree, 'etc/group');

  const user = users.find(([login, , uid]) => login === name || uid === name);
  if (user === undefined && !isId(name)) throw unknown('user', name, 'passwd');
  const uid = Number(user?.[2] ?? name);
  const home = user?.[5] ?? '';
  const gid = group === undefined || group === '' ? Number(user?.[3] ?? '0') : groupId(groups, group);
  const further =
    group === undefined || group === ''
      ? groups.filter(([, , , members]) => user !== undefined && (members ?? '').split(',').includes(user[0] ?? ''))
      : [];
  return {
    uid,
    gid,
    groups: further.map(([, , id]) => Number(id)).filter((id) => id !== gid),
    home: home.startsWith('/') ? home : '/',
  };
}

function groupId(groups: readonly string[][], name: string): number {
  const group = groups.find(([title, , gid]) => title === name || gid === name);
  if (group === undefined && !isId(name)) throw unknown('group', name, 'group');
  return Number(group?.[2] ?? name);
}

/** Fields of each line; none where there is no such file. */
async function readRecords(tree: ImageTree, path: string): Promise<string[][]> {
  const node = tree.follow(fromText(path));
  if (node?.kind !== 'file') return [];
  await using file = await open(node.content);
  const { buffer, bytesRead } = await file.read(Buffer.alloc(MAX_FILE), 0, MAX_FILE, 0);
  return buffer
    .toString('utf8', 0, bytesRead)
    .split('\n')
    .map((line) => line.split(':'))
    .filter(([, , id = '', primary = '']) => isId(id) && (path !== 'etc/passwd' || isId(primary)));
}

const unknown = (what: string, name: string, file: string) =>
  refused('IMAGE_CONTENT_INVALID', `it runs as the ${what} ${JSON.stringify(name)}, who is not in its /etc/${file}`);
