import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { UnfinishedPath } from '@offshoot/host-agent/os/unfinished-path.js';

/**
 * A folder of `kind` in the cache that was made from exactly these inputs, or is made now. One made from other inputs is
 * removed then; a lab host that still has it open keeps it.
 * @param make fills the folder; on failure nothing is left of it
 */
export async function keptFolder(
  cache: string,
  kind: string,
  inputs: unknown,
  make: (folder: string) => Promise<void>,
): Promise<string> {
  const key = createHash('sha256').update(JSON.stringify(inputs)).digest('hex').slice(0, 16);
  const name = `${kind}-${key}`;
  const path = join(cache, name);
  if (existsSync(path)) return path;
  await mkdir(cache, { recursive: true });
  const making = await mkdtemp(join(cache, `.${kind}-`));
  {
    await using unfinished = new UnfinishedPath(making);
    await make(making);
    await rename(making, path);
    unfinished.keep();
  }
  for (const other of await readdir(cache))
    if (other.startsWith(`${kind}-`) && other !== name) await rm(join(cache, other), { recursive: true, force: true });
  return path;
}
