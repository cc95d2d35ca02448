import { open, readFile, type FileHandle } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';

const PAGE = 4096;
const CHUNK = 256 * PAGE;
const TIME_OFFSET = 64;
const SAMPLES = 300;
const PAUSE_MS = 4;
/** A page the guest's allocator once copied has the mark and a time that stands still. */
const LIVELY_MS = 200;

/**
 * How far the clock of a guest is ahead of ours, in milliseconds: read where identity-probe.cjs writes it, in the memory of
 * its VM, because every other way out of a guest takes longer than what is measured. Of many samples the freshest counts.
 */
export async function clockOffset(vmmPid: number, mark: string): Promise<number> {
  await using memory = await open(`/proc/${String(vmmPid)}/mem`, 'r');
  const at = await placeOfClock(memory, vmmPid, mark);
  let best = -Infinity;
  for (let i = 0; i < SAMPLES; i++) {
    best = Math.max(best, (await timeAt(memory, at)) - Date.now());
    await delay(PAUSE_MS);
  }
  return best;
}

async function placeOfClock(memory: FileHandle, vmmPid: number, mark: string): Promise<number> {
  const chunk = Buffer.alloc(CHUNK);
  for (const line of (await readFile(`/proc/${String(vmmPid)}/maps`, 'latin1')).split('\n')) {
    const [, from, to] = /^([0-9a-f]+)-([0-9a-f]+) .*\/memory(?: |$)/.exec(line) ?? [];
    if (from === undefined || to === undefined) continue;
    for (let at = parseInt(from, 16); at < parseInt(to, 16); at += CHUNK) {
      const { bytesRead } = await memory.read(chunk, 0, Math.min(CHUNK, parseInt(to, 16) - at), at);
      for (let page = 0; page < bytesRead; page += PAGE)
        if (chunk.toString('latin1', page, page + mark.length) === mark && (await isLively(memory, at + page)))
          return at + page;
    }
  }
  throw new Error('no clock in the memory of the VM');
}

async function isLively(memory: FileHandle, at: number): Promise<boolean> {
  const before = await timeAt(memory, at);
  await delay(LIVELY_MS);
  return (await timeAt(memory, at)) !== before;
}

async function timeAt(memory: FileHandle, at: number): Promise<number> {
  const { buffer } = await memory.read(Buffer.alloc(8), 0, 8, at + TIME_OFFSET);
  return buffer.readDoubleLE();
}
