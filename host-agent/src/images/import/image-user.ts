import { open } from 'node:fs/promises';
import { fromText } from '../tar/byte-string.js';
import { refused } from './image-refused.js';
import type { ImageUser } from '../../ports/image-store.js';
import type { ImageTree } from './image-tree.js';

/** Of the largest directories of users that are files. */
const MAX_FILE = 2 ** 20;
const NUMBER = /^\d{1,10}$/;

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
  if (user === undefined && !NUMBER.test(name)) throw unknown('user', name, 'passwd');
  const uid = Number(user?.[2] ?? name);
  const home = user?.[5] ?? '';
  const gid = group === undefined || group === '' ? Number(user?.[3] ?? 0) : groupId(groups, group);
  const further =
    group === undefined || group === ''
      ? groups.filter(([, , , members]) => user !== undefined && (members ?? '').split(',').includes(user[0] ?? ''))
      : [];
  return {
    uid,
    gid,
    groups: further.map(([, , id]) => Number(id)).filter((id) => Number.isSafeInteger(id) && id !== gid),
    home: home.startsWith('/') ? home : '/',
  };
}

function groupId(groups: readonly string[][], name: string): number {
  const group = groups.find(([title, , gid]) => title === name || gid === name);
  if (group === undefined && !NUMBER.test(name)) throw unknown('group', name, 'group');
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
    .filter((fields) => fields.length >= 4 && NUMBER.test(fields[2] ?? ''));
}

const unknown = (what: string, name: string, file: string) =>
  refused('IMAGE_CONTENT_INVALID', `it runs as the ${what} ${JSON.stringify(name)}, who is not in its /etc/${file}`);
