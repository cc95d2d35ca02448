import type { RegisteredMailbox } from '@offshoot/proto/generated/offshoot/guest/v1/guest_service.js';
import { Corrupt } from '@offshoot/shared/errors.js';
import { parseFrameHeader, tokenFingerprint, type FrameHeader } from '@offshoot/shared/mailbox/frame.js';
import { FRAME_LAYOUT, FRAME_SIZE, FRAME_STATE } from '@offshoot/shared/mailbox/frame-layout.js';
import { ProcessMemory } from '../os/process-memory.js';

/** Where a program says that the frames of a mailbox of its own are. */
export interface AttachedPlace {
  readonly name: string;
  readonly pid: number;
  /** Virtual addresses of the segments in order, page-aligned. */
  readonly addresses: readonly bigint[];
}

/**
 * A mailbox in a program's own memory. The program arms, reads and wipes it; the agent only looks, each time anew, because
 * the program can change it at any time. The payload is never read: a page to read into has room for all, but only the
 * header's bytes are asked for.
 */
export class AttachedMailbox implements Disposable {
  private readonly page = Buffer.alloc(FRAME_SIZE);
  private readonly word = Buffer.alloc(FRAME_LAYOUT.generation.size);

  private constructor(
    private readonly memory: ProcessMemory,
    private readonly addresses: readonly bigint[],
    private readonly identity: Pick<FrameHeader, 'name' | 'token' | 'nonce'>,
  ) {}

  /** @throws InvalidInput for a process that cannot be looked into; Corrupt when no such mailbox stands there, whole */
  static open({ name, pid, addresses }: AttachedPlace): AttachedMailbox {
    const memory = ProcessMemory.open(pid);
    try {
      const first = readHeader(memory, addresses[0], Buffer.alloc(FRAME_SIZE));
      if (first?.name !== name) throw noFrame(`no frame of mailbox ${name} stands at the first address`);
      const mailbox = new AttachedMailbox(memory, addresses, first);
      if (mailbox.headers() === undefined) throw noFrame(`the frames are not the segments of one mailbox ${name}`);
      return mailbox;
    } catch (error) {
      memory[Symbol.dispose]();
      throw error;
    }
  }

  get segments(): number {
    return this.addresses.length;
  }

  /** Generation of the delivery that stands in all frames; 0 when none does. Costs one small read when there is none. */
  deliveredGeneration(): number {
    const [address] = this.addresses;
    if (address === undefined || !this.memory.read(address + BigInt(FRAME_LAYOUT.generation.offset), this.word))
      return 0;
    const generation = this.word.readUInt32LE();
    if (generation === 0) return 0;
    return this.headers()?.every((header) => header.generation === generation) === true ? generation : 0;
  }

  /** What the host is told of it; undefined when it is not there any more, or the kernel does not say where. */
  registration(): RegisteredMailbox | undefined {
    const headers = this.headers();
    if (headers === undefined) return undefined;
    const segmentAddresses = this.addresses
      .map((address) => this.memory.physicalAddress(address))
      .filter((address) => address !== undefined);
    if (segmentAddresses.length < this.addresses.length) return undefined;
    const state = headers.find((header) => header.state !== 'armed')?.state ?? 'armed';
    const { name, token, nonce } = this.identity;
    return {
      name,
      tokenFingerprint: tokenFingerprint(token),
      nonce,
      segmentAddresses,
      state: FRAME_STATE[state],
      attached: true,
    };
  }

  [Symbol.dispose](): void {
    this.memory[Symbol.dispose]();
  }

  /** Of all segments, in order; undefined unless each of them is what it was when it was attached. */
  private headers(): FrameHeader[] | undefined {
    const { name, token, nonce } = this.identity;
    const headers: FrameHeader[] = [];
    for (let index = 0; index < this.addresses.length; index++) {
      const header = readHeader(this.memory, this.addresses[index], this.page);
      if (header?.name !== name || header.token !== token || header.nonce !== nonce) return undefined;
      if (header.segmentIndex !== index || header.segmentCount !== this.addresses.length) return undefined;
      headers.push(header);
    }
    return headers;
  }
}

/** Undefined where no frame stands, or one that was disposed of. `page` is room to read into. */
function readHeader(memory: ProcessMemory, address: bigint | undefined, page: Buffer): FrameHeader | undefined {
  if (address === undefined || !memory.read(address, page.subarray(0, FRAME_LAYOUT.payload.offset))) return undefined;
  const parse = parseFrameHeader(page);
  return parse.ok && parse.header.state !== 'disposed' ? parse.header : undefined;
}

const noFrame = (message: string): Corrupt => new Corrupt(message, { reason: 'MAILBOX_FRAME_CORRUPT' });
