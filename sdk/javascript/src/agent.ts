import { MailboxError } from './api.js';
import { AgentGone, AgentLink, type AgentAnswer } from './agent-link.js';

const ANSWER_MS = 5_000;
/** It repeats an ack for 30 s itself. */
const ACK_ANSWER_MS = 35_000;
/** A day, the longest time it can be given; without one it answers when there is something. */
const MAX_WATCH_MS = 24 * 3600 * 1000;

/** What the agent has to say to a watch: there is a delivery that counts, there is none in time, it is of no more use. */
export type AgentWord = 'delivered' | 'empty' | 'gone';

/** What one mailbox wants of the guest agent. One that is too old, gone, or cannot see our memory is done without. */
export class MailboxAgent {
  private constructor(
    private readonly link: AgentLink,
    private readonly name: string,
  ) {}

  /** Undefined where no agent listens. */
  static async reach(name: string): Promise<MailboxAgent | undefined> {
    const link = await AgentLink.connect();
    return link === undefined ? undefined : new MailboxAgent(link, name);
  }

  /** Says where the frames are. Returns whether the agent has taken that. @throws MailboxError `MAILBOX_NAME_TAKEN` */
  async attach(addresses: readonly string[]): Promise<boolean> {
    const answer = await this.ask({ op: 'attach', name: this.name, pid: process.pid, addresses }, ANSWER_MS);
    if (answer?.reason === 'MAILBOX_NAME_TAKEN')
      throw new MailboxError(answer.reason, `the guest agent holds a mailbox ${this.name} for somebody else`);
    return answer?.ok === true;
  }

  /** @param timeoutMs how long anybody will listen */
  async watch(timeoutMs: number): Promise<AgentWord> {
    const limit = timeoutMs <= MAX_WATCH_MS ? { timeoutMs: Math.max(0, Math.floor(timeoutMs)) } : {};
    const answer = await this.ask({ op: 'watch', name: this.name, ...limit });
    if (answer?.ok === true) return 'delivered';
    return answer?.reason === 'MAILBOX_EMPTY' ? 'empty' : 'gone';
  }

  /** Whether the host has confirmed it; false too when the agent went. @throws MailboxError */
  async sendAck(line: string, timeoutMs: number): Promise<boolean> {
    const answer = await this.ask({ op: 'send-ack', line }, Math.min(timeoutMs, ACK_ANSWER_MS));
    if (answer === undefined || answer.ok) return answer?.confirmed === true;
    throw new MailboxError(answer.reason, 'the acknowledgement did not get through the guest agent');
  }

  /** Waited for: the name can be armed again by somebody else as soon as this resolves. */
  async detach(): Promise<void> {
    await this.ask({ op: 'detach', name: this.name }, ANSWER_MS);
    this.link.close();
  }

  close(): void {
    this.link.close();
  }

  private async ask(request: Readonly<Record<string, unknown>>, timeoutMs?: number): Promise<AgentAnswer | undefined> {
    try {
      return await this.link.ask(request, timeoutMs);
    } catch (error) {
      if (error instanceof AgentGone) return undefined;
      throw error;
    }
  }
}
