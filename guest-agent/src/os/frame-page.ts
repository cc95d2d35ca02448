import { FRAME_SIZE } from '@offshoot/shared/mailbox/frame-layout.js';
import { mapPages } from './libc.js';
import { PageMap } from './page-map.js';

/** One page-aligned page of guest memory that stays where it is as well as it can be made to. */
export class FramePage {
  private static readonly free: FramePage[] = [];

  private constructor(
    readonly bytes: Buffer,
    private readonly address: bigint,
  ) {}

  /** A zeroed page: one given back before, or a new one. */
  static take(): FramePage {
    const used = FramePage.free.pop();
    if (used !== undefined) return used;
    const { bytes, address } = mapPages(FRAME_SIZE);
    return new FramePage(bytes, address);
  }

  /** Guest-physical address, looked up now: after a fork or compaction it may be another. */
  physicalAddress(): bigint | undefined {
    return PageMap.own.physicalAddress(this.address);
  }

  /** Wipes the page, so that no scan finds a dead frame, and gives it back. */
  giveBack(): void {
    this.bytes.fill(0);
    FramePage.free.push(this);
  }
}
