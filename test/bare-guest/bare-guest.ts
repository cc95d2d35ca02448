import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const source = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** Guest-physical address of the bare guest's mailbox frame, named `task`, token `tk`. */
export const FRAME_ADDRESS = 0x40_0000;

/** Guest-physical address of the number of 32 bits that it counts up while it runs. */
export const TICKS_ADDRESS = 0x50_0400;

/** Assembles and links the bare guest in `directory`; the kernel's path. Needs gcc and ld. */
export async function buildBareGuest(directory: string): Promise<string> {
  const object = join(directory, 'bare-guest.o');
  const kernel = join(directory, 'bare-guest.elf');
  await run('gcc', ['-m64', '-c', source('bare-guest.S'), '-o', object]);
  await run('ld', ['-m', 'elf_x86_64', '-n', '--build-id=none', '-T', source('bare-guest.ld'), '-o', kernel, object]);
  return kernel;
}
