import { randomBytes } from 'node:crypto';
import { InvalidInput, OffshootError } from '@offshoot/shared/errors.js';
import { checkMailboxName, formatAck } from '@offshoot/shared/mailbox/ack-line.js';
import { RESERVED_NAME_PREFIX, SEGMENT_CAPACITY } from '@offshoot/shared/mailbox/frame-layout.js';
import { readFrameHeader, readGeneration } from '@offshoot/shared/mailbox/frame.js';
import * as segments from '@offshoot/shared/mailbox/segments.js';
import { MailboxAgent, type AgentWord } from './agent.js';
import { MailboxError } from './api.js';
import type { AckOptions, AckStage, ArmOptions, Delivery, Mailbox, WaitOptions } from './api.js';
import { FrameMemory } from './frame-memory.js';
import { InterruptiblePause } from './interruptible-pause.js';
import { sendUntilConfirmed } from './udp-ack.js';

/** Random bytes of a token that nobody chose. */
const TOKEN_BYTES = 16;
const STAGES: readonly string[] = ['received', 'applied', 'failed'] satisfies AckStage[];

/** Between two looks at the memory; with the agent, which says when there is something, rarely. */
const LOOK_ALONE_MS = 20;
const LOOK_BESIDES_AGENT_MS = 1000;
/** That a delivery may stand before an agent which says nothing of it is taken for hung. */
const AGENT_GRACE_MS = 5000;
const ACK_DEADLINE_MS = 30_000;

/** A mailbox in this process's own pages. */
export class OwnMailbox implements Mailbox {
  private nonce = 0n;
  private isTaken = false;
  private answerable: Pick<segments.Delivery, 'generation' | 'ack'> | undefined;
  private agent: MailboxAgent | undefined;
  private readonly disposed = new AbortController();

  private constructor(
    readonly name: string,
    private readonly memory: FrameMemory,
  ) {}

  static async arm(name: string, { token, capacity = SEGMENT_CAPACITY }: ArmOptions = {}): Promise<OwnMailbox> {
    const mailbox = translated(() => {
      checkMailboxName('name', name);
      if (name.startsWith(RESERVED_NAME_PREFIX))
        throw InvalidInput.field(
          'name',
          `those beginning with ${RESERVED_NAME_PREFIX} are reserved`,
          'MAILBOX_NAME_RESERVED',
        );
      return new OwnMailbox(name, new FrameMemory(segments.segmentsFor('capacity', capacity)));
    });
    try {
      await mailbox.rearm(token ?? randomBytes(TOKEN_BYTES).toString('hex'));
      return mailbox;
    } catch (error) {
      await mailbox.dispose();
      throw error;
    }
  }

  get token(): string {
    const [first = Buffer.alloc(0)] = this.pages();
    return translated(() => readFrameHeader(first).token);
  }

  get capacity(): number {
    return this.pages().length * SEGMENT_CAPACITY;
  }

  async rearm(token = this.token): Promise<void> {
    const pages = this.pages();
    const nonce = randomBytes(8).readBigUInt64LE();
    translated(() => {
      if (Buffer.from(token, 'utf8').toString('utf8') !== token)
        throw InvalidInput.field('token', 'must be well-formed Unicode', 'MAILBOX_TOKEN_MALFORMED');
      segments.armSegments(pages, { name: this.name, token, nonce });
    });
    this.nonce = nonce;
    this.isTaken = false;
    this.answerable = undefined;
    await this.attach();
  }

  async wait({ timeoutMs, keep = false, signal }: WaitOptions = {}): Promise<Delivery> {
    const pages = this.pages();
    this.refuseTaken();
    await this.awaitDelivery(pages, timeoutMs, signal);
    this.refuseTaken(); // by another wait meanwhile
    try {
      this.isTaken = true;
      const { name, nonce, token } = this;
      const { generation, contentType, payload, ack } = translated(() =>
        segments.readSegments(pages, { name, token, nonce }),
      );
      this.answerable = { generation, ack };
      this.isTaken = !keep;
      return { payload, contentType, generation };
    } finally {
      if (this.isTaken) segments.consumeSegments(pages);
    }
  }

  async ack(
    stage: AckStage = 'applied',
    detail = '',
    { timeoutMs = ACK_DEADLINE_MS }: AckOptions = {},
  ): Promise<boolean> {
    this.pages();
    if (!STAGES.includes(stage))
      throw new MailboxError(
        'INVALID_FIELD',
        `stage: must be one of ${STAGES.join(', ')}, got ${JSON.stringify(stage)}`,
      );
    if (this.answerable === undefined)
      throw new MailboxError('MAILBOX_EMPTY', `nothing was delivered into ${this.name} that could be acknowledged`);
    const { generation, ack } = this.answerable;
    const line = formatAck({ mailbox: this.name, generation, nonce: ack.nonce, stage, detail });
    switch (ack.transport) {
      case 'none':
        return false;
      case 'channel':
      case 'vsock': // which Node cannot speak
        return (await this.agent?.sendAck(line, timeoutMs)) ?? false;
      case 'udp':
        if (await sendUntilConfirmed(line, ack, timeoutMs)) return true;
        throw new MailboxError('ACK_UNCONFIRMED', `the host did not confirm in ${String(timeoutMs)} ms`);
    }
  }

  async dispose(): Promise<void> {
    this.disposed.abort();
    const { agent } = this;
    this.agent = undefined;
    this.answerable = undefined;
    this.memory.wipe();
    await agent?.detach();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  private pages(): segments.SegmentPages {
    if (this.disposed.signal.aborted)
      throw new MailboxError('MAILBOX_DISPOSED', `mailbox ${this.name} was disposed of`);
    return this.memory.pages;
  }

  private refuseTaken(): void {
    if (this.isTaken)
      throw new MailboxError('MAILBOX_CONSUMED', `what was delivered into ${this.name} was taken: arm it again`);
  }

  /** Tells the agent where the frames are, if it is there and we know it. */
  private async attach(): Promise<void> {
    this.agent ??= await MailboxAgent.reach(this.name);
    if (this.agent === undefined) return;
    const addresses = this.memory.addresses();
    if (addresses === undefined || !(await this.agent.attach(addresses))) this.goWithoutAgent();
  }

  private goWithoutAgent(): void {
    this.agent?.close();
    this.agent = undefined;
  }

  /** Resolves when every frame has its generation, and the agent, where there is one, has said that it counts. */
  private async awaitDelivery(pages: segments.SegmentPages, timeoutMs = Infinity, signal?: AbortSignal): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    const isComplete = (): boolean => pages.every((page) => readGeneration(page) !== 0);
    const pause = new InterruptiblePause();
    let word: AgentWord | undefined;
    void this.agent?.watch(timeoutMs).then((said) => {
      word = said;
      pause.interrupt();
    });
    const signals = signal === undefined ? [this.disposed.signal] : [this.disposed.signal, signal];
    for (const each of signals) each.addEventListener('abort', pause.interrupt);
    try {
      for (let standsSince = Infinity; ;) {
        this.pages();
        signal?.throwIfAborted();
        const now = performance.now();
        if (isComplete()) {
          standsSince = Math.min(standsSince, now);
          if (word === 'delivered' || this.agent === undefined) return;
          if (word === 'gone' || now - standsSince >= AGENT_GRACE_MS) {
            this.goWithoutAgent();
            return;
          }
        } else if (word === 'gone') this.goWithoutAgent();
        if (now >= deadline) throw new MailboxError('MAILBOX_EMPTY', `nothing was delivered into ${this.name} in time`);
        const rest = this.agent === undefined ? LOOK_ALONE_MS : LOOK_BESIDES_AGENT_MS;
        await pause.take(Math.min(rest, deadline - now));
      }
    } finally {
      for (const each of signals) each.removeEventListener('abort', pause.interrupt);
    }
  }
}

/** The errors of the shared codec as those of this package. */
function translated<T>(act: () => T): T {
  try {
    return act();
  } catch (error) {
    if (error instanceof OffshootError) throw new MailboxError(error.reason, error.message, error.metadata.problem);
    throw error;
  }
}
