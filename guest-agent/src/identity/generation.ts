import { closeSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

/** Where guest software finds it. */
export const GENERATION_FILE = '/run/offshoot/generation';

/**
 * How many identities this VM's memory was given since its machine booted: 0 in a VM that is nobody's fork. It only grows:
 * who drew random numbers, opened connections or cached an address under another one starts anew.
 */
export class Generation {
  private value: number;
  private readonly descriptor: number;

  constructor(path = GENERATION_FILE) {
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    this.value = knownGeneration(path);
    // Kept open and written with one call: a reader never finds it empty, and an inotify watch goes on.
    this.descriptor = openSync(path, this.value === 0 ? 'w' : 'r+', 0o644);
    this.write();
  }

  get current(): number {
    return this.value;
  }

  increment(): void {
    this.value += 1;
    this.write();
  }

  close(): void {
    closeSync(this.descriptor);
  }

  private write(): void {
    writeSync(this.descriptor, `${String(this.value)}\n`, 0);
  }
}

/** What an agent before us wrote; 0 when there was none. */
function knownGeneration(path: string): number {
  try {
    const text = readFileSync(path, 'latin1');
    return /^[0-9]{1,15}\n$/.test(text) ? Number(text) : 0;
  } catch {
    return 0;
  }
}
