import { open } from 'node:fs/promises';
import { runTool } from '@offshoot/host-agent/images/tool.js';

/** A disk with the files of a folder and `roomBytes` beside, sparse. Not durable: it is thrown away or can be made again. */
export async function ext4FromTree(tree: string, disk: string, sizeBytes: number, signal: AbortSignal): Promise<void> {
  {
    await using file = await open(disk, 'wx', 0o600);
    await file.truncate(sizeBytes);
  }
  await runTool('mkfs.ext4', ['-q', '-F', '-m', '0', '-O', '^has_journal', '-d', tree, disk], { signal });
}
