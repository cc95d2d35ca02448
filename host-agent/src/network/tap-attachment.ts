import { closeSync } from 'node:fs';
import type { NicBackend } from '../ports/driver.js';
import type { NicAttachment } from '../ports/network.js';

/** The daemon's hold on a TAP. The device lives as long as this or a process it was handed to holds it. */
export class TapAttachment implements NicAttachment {
  readonly backend: NicBackend;
  private open = true;

  constructor(
    private readonly descriptor: number,
    name: string,
  ) {
    this.backend = { kind: 'tap', descriptor, name };
  }

  close(): void {
    if (this.open) closeSync(this.descriptor); // a second close could hit a descriptor that is somebody else's by now
    this.open = false;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
