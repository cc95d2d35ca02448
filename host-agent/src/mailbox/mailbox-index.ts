import { resolve } from 'node:path';
import { messageOf } from '@offshoot/shared/errors.js';
import type { Logger } from 'pino';
import type { Capture } from '../domain/instance.js';
import type { InstancePaths } from '../paths.js';
import { MAX_FRAMES, scanMemoryFile, type FrameScan } from './frame-finder.js';
import { assembleMailboxes, isWhole, type IndexedMailbox } from './indexed-mailbox.js';
import { locatedFrame, type LocatedFrame } from './located-frame.js';
import { loadIndex, saveIndex, type IndexContents } from './mailbox-index-file.js';
import { MailboxLookup } from './mailbox-lookup.js';
import { checkStamp, readFramesAt } from './memory-file.js';
import { SingleFlight } from './single-flight.js';

type IndexedCapture = Pick<Capture, 'takenAt' | 'memoryFile' | 'memoryStamp' | 'regions' | 'registeredMailboxes'>;

/**
 * The mailboxes of one capture. Those the guest agent registered are looked at where it said; the memory is searched for
 * others only when a name is asked for that is not among them, and only once, however many ask. What was found is kept
 * beside the capture, bound to the stamp of the memory file, without any token.
 */
export class MailboxIndex {
  private readonly memoryFile: string;
  private readonly opened = new SingleFlight<IndexContents>(() => this.open());
  private readonly scanned = new SingleFlight<FrameScan>((signal) => this.scan(signal));

  constructor(
    private readonly paths: Pick<InstancePaths, 'root' | 'mailboxIndex'>,
    private readonly capture: IndexedCapture,
    private readonly logger?: Logger,
  ) {
    this.memoryFile = resolve(paths.root, capture.memoryFile);
  }

  /**
   * The mailboxes of these names.
   * @throws Corrupt when the memory file is not the captured one, NotFound when it is gone, Aborted when the signal ends first
   */
  async lookup(names: readonly string[], signal?: AbortSignal): Promise<MailboxLookup> {
    const { registered } = await this.opened.get(signal);
    const known = assembleMailboxes(registered, this.capture.registeredMailboxes);
    const isKnown = (name: string): boolean => known.some((mailbox) => mailbox.name === name && isWhole(mailbox));
    if (names.every(isKnown)) return new MailboxLookup(known, false);
    const scan = await this.scanned.get(signal);
    return new MailboxLookup(this.assembleAll(registered, scan), scan.limitReached);
  }

  /** All mailboxes, of the guest's software and of Offshoot itself. Throws as {@link lookup}. */
  async all(signal?: AbortSignal): Promise<readonly IndexedMailbox[]> {
    const { registered } = await this.opened.get(signal);
    return this.assembleAll(registered, await this.scanned.get(signal));
  }

  /** The tokens of mailboxes of this index, read where they stand: they are kept nowhere else. Throws as {@link lookup}. */
  async tokensOf(mailboxes: readonly IndexedMailbox[]): Promise<ReadonlyMap<IndexedMailbox, string>> {
    await checkStamp(this.memoryFile, this.capture.memoryStamp);
    const addressOf = new Map(mailboxes.map((mailbox) => [mailbox, mailbox.segmentAddresses.find(isAddress)]));
    const addresses = [...addressOf.values()].filter(isAddress);
    const frames = await readFramesAt(this.memoryFile, this.capture.regions, addresses);
    const tokens = new Map(frames.map(({ gpa, header }) => [gpa, header.token]));
    return new Map(
      [...addressOf].flatMap(([mailbox, gpa]) => {
        const token = gpa === undefined ? undefined : tokens.get(gpa);
        return token === undefined ? [] : [[mailbox, token]];
      }),
    );
  }

  private assembleAll(registered: readonly LocatedFrame[], scan: FrameScan): IndexedMailbox[] {
    // The scan finds the registered ones again, unless it ended before it came to them.
    const frames = new Map([...registered, ...scan.frames].map((frame) => [frame.gpa, frame]));
    return assembleMailboxes([...frames.values()], this.capture.registeredMailboxes);
  }

  private async open(): Promise<IndexContents> {
    await checkStamp(this.memoryFile, this.capture.memoryStamp);
    const kept = await loadIndex(this.paths.mailboxIndex, this.capture);
    if (kept !== undefined) return kept;
    const { registeredMailboxes, regions } = this.capture;
    const addresses = registeredMailboxes.flatMap(({ segmentAddresses }) => segmentAddresses).slice(0, MAX_FRAMES);
    const frames = await readFramesAt(this.memoryFile, regions, addresses);
    const registered = frames.map(({ gpa, header }) => locatedFrame(header, gpa));
    const contents = { registered, scan: undefined };
    await this.save(contents);
    return contents;
  }

  private async scan(signal: AbortSignal): Promise<FrameScan> {
    const { registered, scan: kept } = await this.opened.get(signal);
    if (kept !== undefined) return kept;
    const start = performance.now();
    const scan = await scanMemoryFile(this.memoryFile, this.capture.regions, signal);
    const { frames, invalid, limitReached, bytesRead } = scan;
    const ms = Math.round(performance.now() - start);
    this.logger?.info({ frames: frames.length, invalid, limitReached, bytesRead, ms }, 'searched memory for mailboxes');
    await this.save({ registered, scan });
    return scan;
  }

  private async save(contents: IndexContents): Promise<void> {
    try {
      await saveIndex(this.paths.mailboxIndex, this.capture, contents);
    } catch (error) {
      // Only costs the next daemon a scan.
      this.logger?.warn({ error: messageOf(error) }, 'could not keep the mailbox index');
    }
  }
}

const isAddress = (gpa: number | undefined): gpa is number => gpa !== undefined;
