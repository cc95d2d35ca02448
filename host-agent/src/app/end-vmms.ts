import type { InstanceId } from '../domain/ids.js';
import type { Context } from './context.js';

/** Ends VMMs that no row knows, of instances that have none. */
export async function endVmms(
  { orphans, files, paths }: Pick<Context, 'orphans' | 'files' | 'paths'>,
  ids: readonly InstanceId[],
): Promise<void> {
  await orphans.endProcessesOf(ids.map((id) => paths.instance(id).root));
  for (const id of ids) await files.dropJail(id);
}
