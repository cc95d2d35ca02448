import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { FRAME_STATE, type FrameState } from '@offshoot/shared/mailbox/frame-layout.js';
import * as z from 'zod';
import type { MemoryRegion, RegisteredMailbox } from '../domain/instance.js';
import { deliver } from '../mailbox/delivery.js';
import { planDeliveries } from '../mailbox/delivery-plan.js';
import { scanMemoryFile, type FrameScan } from '../mailbox/frame-finder.js';
import { assembleMailboxes, type IndexedMailbox } from '../mailbox/indexed-mailbox.js';
import { MailboxLookup } from '../mailbox/mailbox-lookup.js';
import { identifyFile } from '../os/file-mappings.js';
import { ProcessMemory } from '../os/process-memory.js';

const STATES = Object.keys(FRAME_STATE) as [FrameState, ...FrameState[]];
const RECORD = z.object({
  capture: z.object({
    regions: z.array(z.object({ gpa: z.number(), size: z.number(), fileOffset: z.number() })),
    registeredMailboxes: z.array(
      z.object({
        name: z.string(),
        tokenFingerprint: z.string(),
        nonce: z.string(),
        segmentAddresses: z.array(z.number()),
        state: z.enum(STATES),
        attached: z.boolean(),
      }),
    ),
  }),
});

/** What is to stand in a mailbox. */
export interface MailboxPayload {
  readonly mailbox: string;
  readonly payload: Buffer;
}

/** How long a delivery took, in milliseconds. */
export interface DeliveryTime {
  readonly openMs: number;
  /** By mailbox. */
  readonly deliverMs: ReadonlyMap<string, number>;
}

/**
 * The memory of a parked VM and of its forks, worked on by the daemon's own code within this process: its API tells neither
 * how long a search takes nor, apart from all that a fork is given besides, a delivery.
 */
export class ParkedMemory {
  private mailboxes: readonly IndexedMailbox[] | undefined;

  private constructor(
    readonly path: string,
    private readonly regions: readonly MemoryRegion[],
    private readonly registered: readonly RegisteredMailbox[],
  ) {}

  /** @param directory of the instance */
  static async of(directory: string): Promise<ParkedMemory> {
    const record = await readFile(join(directory, 'instance.json'), 'utf8');
    const { capture } = RECORD.parse(JSON.parse(record));
    return new ParkedMemory(join(directory, 'memory'), capture.regions, capture.registeredMailboxes);
  }

  /** A file that no VM wrote, as one region. */
  static async ofFile(path: string): Promise<ParkedMemory> {
    const { size } = await stat(path);
    return new ParkedMemory(path, [{ gpa: 0, size, fileOffset: 0 }], []);
  }

  get bytes(): number {
    return this.regions.reduce((sum, { size }) => sum + size, 0);
  }

  /** Searches all of it, as where nothing is registered. */
  scan(): Promise<FrameScan> {
    return scanMemoryFile(this.path, this.regions);
  }

  /**
   * Fills mailboxes in the private memory of a fork, which has to be paused and must not go on with them: one after the other.
   * @param pid of the fork's VMM
   * @throws Unreachable where this process may not look into that one
   */
  async deliverInto(pid: number, payloads: readonly MailboxPayload[]): Promise<DeliveryTime> {
    this.mailboxes ??= assembleMailboxes((await this.scan()).frames, this.registered);
    const planned = planDeliveries(
      new MailboxLookup(this.mailboxes, false),
      payloads.map(({ mailbox, payload }) => ({ name: mailbox, token: undefined, contentType: 'bytes', payload })),
    );
    const started = performance.now();
    await using memory = await ProcessMemory.open(pid, await identifyFile(this.path), this.regions);
    const openMs = performance.now() - started;
    const deliverMs = new Map<string, number>();
    for (const each of planned) {
      const before = performance.now();
      await deliver(memory, [{ planned: each, ack: undefined }]);
      deliverMs.set(each.mailbox.name, performance.now() - before);
    }
    return { openMs, deliverMs };
  }
}
