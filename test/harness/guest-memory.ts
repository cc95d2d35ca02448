import { open, readFile } from 'node:fs/promises';

export const PAGE = 4096;
const CHUNK_BYTES = 256 * PAGE;

/** A piece of what a running VM has in its memory. */
export interface MemoryChunk {
  /** Where it is in the VMM's address space. */
  readonly at: number;
  /** Whole pages; only good until the next chunk is asked for. */
  readonly bytes: Buffer;
}

/** The memory of a VM, in the mappings its VMM has of files called `memory`: what the guest sees now, also where it is private. */
export async function* guestMemory(vmmPid: number): AsyncGenerator<MemoryChunk> {
  await using memory = await open(`/proc/${String(vmmPid)}/mem`, 'r');
  const chunk = Buffer.alloc(CHUNK_BYTES);
  for (const line of (await readFile(`/proc/${String(vmmPid)}/maps`, 'latin1')).split('\n')) {
    const [, from, to] = /^([0-9a-f]+)-([0-9a-f]+) .*\/memory(?: |$)/.exec(line) ?? [];
    if (from === undefined || to === undefined) continue;
    const end = parseInt(to, 16);
    for (let at = parseInt(from, 16); at < end; at += CHUNK_BYTES) {
      const { bytesRead } = await memory.read(chunk, 0, Math.min(CHUNK_BYTES, end - at), at);
      yield { at, bytes: chunk.subarray(0, bytesRead) };
    }
  }
}
