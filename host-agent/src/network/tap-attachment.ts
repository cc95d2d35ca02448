import { closeSync } from 'node:fs';
import { errnoOf } from '@offshoot/shared/errors.js';
import { keepTap, leaveTapTo, openTap } from '../os/tun.js';
import type { NicBackend } from '../ports/driver.js';
import type { NicAttachment } from '../ports/network.js';

/** The daemon's hold on a TAP. The device lives as long as this or a process it was handed to holds it. */
export class TapAttachment implements NicAttachment {
  readonly backend: NicBackend;
  private open = true;

  constructor(private readonly descriptor: number) {
    this.backend = { kind: 'tap', descriptor };
  }

  passTo(): void {
    // It was handed its descriptor.
  }

  close(): void {
    if (this.open) closeSync(this.descriptor); // a second close could hit a descriptor that is somebody else's by now
    this.open = false;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * A TAP for a VMM that opens it by its name, which two cannot at a time: the device stays by itself from here until that has,
 * and then goes with it as any other.
 */
export class NamedTapAttachment implements NicAttachment {
  readonly backend: NicBackend;
  private kept = true;

  /** @param descriptor of the TAP; closed here */
  constructor(
    descriptor: number,
    private readonly name: string,
  ) {
    keepTap(descriptor);
    closeSync(descriptor);
    this.backend = { kind: 'named-tap', name };
  }

  passTo(pid: number): void {
    leaveTapTo(pid, this.name);
    this.kept = false;
  }

  close(): void {
    if (!this.kept) return;
    this.kept = false;
    removeKeptTap(this.name);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** A TAP that stays whoever uses it, for a VMM that opens it by its name. */
export class KeptTapAttachment implements NicAttachment {
  readonly backend: NicBackend;

  constructor(name: string) {
    this.backend = { kind: 'named-tap', name };
  }

  passTo(): void {
    // It opens it itself.
  }

  close(): void {
    // Nothing of it is the daemon's.
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Removes a TAP that was left to stay, unless a process has it open. */
export function removeKeptTap(name: string): void {
  try {
    closeSync(openTap(name));
  } catch (error) {
    if (errnoOf(error) !== 'EBUSY') throw error;
  }
}
