import { watch } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { once } from 'node:events';
import { join } from 'node:path';
import type { GuestMemory, Vm } from '../../host-agent/src/ports/driver.js';
import { Unreachable } from '../../shared/src/errors.js';
import { FRAME_LAYOUT } from '../../shared/src/mailbox/frame-layout.js';
import { FRAME_ADDRESS, TICKS_ADDRESS } from './bare-guest.js';

/** Waits until the console says `text`. */
export async function consoleSays(spec: { logDirectory: string }, text: string): Promise<void> {
  const path = join(spec.logDirectory, 'console.log');
  const limit = AbortSignal.timeout(20_000);
  const watcher = watch(spec.logDirectory, { signal: limit });
  try {
    for (;;) {
      const changed = once(watcher, 'change', { signal: limit });
      changed.catch(() => undefined);
      const said = await readFile(path, 'utf8').catch(() => '');
      if (said.includes(text)) return;
      try {
        await changed;
      } catch (error) {
        throw new Error(`the console never said ${JSON.stringify(text)}, only ${JSON.stringify(said)}`, {
          cause: error,
        });
      }
    }
  } finally {
    watcher.close();
  }
}

/** The payload into the bare guest's frame, generation last. */
export async function deliver(memory: GuestMemory, payload: string): Promise<void> {
  const bytes = Buffer.from(payload, 'utf8');
  const number = (value: number): Buffer => {
    const field = Buffer.alloc(4);
    field.writeUInt32LE(value);
    return field;
  };
  await memory.write(FRAME_ADDRESS + FRAME_LAYOUT.payload.offset, bytes);
  await memory.write(FRAME_ADDRESS + FRAME_LAYOUT.payloadLength.offset, number(bytes.length));
  await memory.write(FRAME_ADDRESS + FRAME_LAYOUT.generation.offset, number(1));
}

/** Delivers to a paused VM and lets it run. */
export async function deliverAndResume(vm: Vm, payload: string): Promise<void> {
  {
    await using memory = await vm.openMemory();
    await deliver(memory, payload);
  }
  await vm.resume();
}

/** For a guest that ends as soon as it runs: its VMM may be gone before it has answered, which is no failure. */
export async function unlessGone(answer: Promise<unknown>): Promise<void> {
  try {
    await answer;
  } catch (error) {
    if (!(error instanceof Unreachable) || error.reason !== 'VMM_GONE') throw error;
  }
}

/** How far the guest has counted, as it is in its memory. */
export async function ticksOf(vm: Vm): Promise<number> {
  await using memory = await vm.openMemory();
  return (await memory.read(TICKS_ADDRESS, 4)).readUInt32LE(0);
}

/** The same in a memory file. */
export async function ticksIn(memoryFile: string): Promise<number> {
  await using file = await open(memoryFile, 'r');
  const bytes = Buffer.alloc(4);
  await file.read(bytes, 0, 4, TICKS_ADDRESS);
  return bytes.readUInt32LE(0);
}

/** Waits until the guest has counted further than that; memory tells nobody that it changes. */
export async function ticksGoOn(vm: Vm, beyond: number): Promise<void> {
  const deadline = performance.now() + 20_000;
  while ((await ticksOf(vm)) <= beyond)
    if (performance.now() > deadline) throw new Error(`the guest does not count on from ${String(beyond)}`);
}
