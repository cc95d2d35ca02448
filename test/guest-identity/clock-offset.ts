import { open, type FileHandle } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { PAGE, guestMemory } from '../harness/guest-memory.js';

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
  for await (const { at, bytes } of guestMemory(vmmPid))
    for (let page = 0; page < bytes.length; page += PAGE)
      if (bytes.toString('latin1', page, page + mark.length) === mark && (await isLively(memory, at + page)))
        return at + page;
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
