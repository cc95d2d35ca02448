import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import pino from 'pino';
import type { GuestEvents, GuestLink, GuestLinkOptions } from '../../ports/guest-link.js';
import { GrpcGuestLinkFactory } from '../grpc-guest-link.js';
import { ScriptedGuest } from './scripted-guest.js';

const factory = new GrpcGuestLinkFactory({ hostVersion: '1.0.0', logger: pino({ level: 'silent' }) });

/** A link to a scripted guest, and what comes over it. */
export class LinkLab implements AsyncDisposable {
  readonly output: [number, string][] = [];
  readonly mailboxChanges: string[][] = [];
  readonly acks: string[] = [];
  /** Whether the VMM takes connections. */
  alive = true;
  private link: GuestLink | undefined;
  private heard = (): void => undefined;

  private constructor(
    private readonly directory: string,
    readonly guest: ScriptedGuest,
  ) {}

  static async start(): Promise<LinkLab> {
    const directory = await mkdtemp(join(tmpdir(), 'offshoot-link-'));
    const guest = new ScriptedGuest(join(directory, 'guest.sock'));
    guest.server.listen(guest.path);
    await once(guest.server, 'listening');
    return new LinkLab(directory, guest);
  }

  /** Waits until `done` holds, looked at whenever the host hears something. */
  until(done: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.heard = () => {
        if (done()) resolve();
      };
      this.heard();
    });
  }

  async open(workloadLogOffset = 0): Promise<GuestLink> {
    return (this.link = await factory.open(this.options(workloadLogOffset), this.events));
  }

  /** To a guest that has long been running. */
  attach(workloadLogOffset = 0): GuestLink {
    return (this.link = factory.attach(this.options(workloadLogOffset), this.events));
  }

  private options(workloadLogOffset: number): GuestLinkOptions {
    return { dial: () => this.dial(), workloadLogOffset, logName: 'test' };
  }

  private readonly events: GuestEvents = {
    onMailboxes: (mailboxes) => {
      this.mailboxChanges.push(mailboxes.map(({ name }) => name));
      this.heard();
    },
    onWorkloadOutput: (offset, data) => {
      this.output.push([offset, data.toString()]);
      this.heard();
    },
    onAck: (line) => {
      const said = line.toString();
      this.acks.push(said);
      this.heard();
      return /^ack [0-9]+$/.test(said) ? BigInt(said.slice(4)) : undefined;
    },
  };

  async [Symbol.asyncDispose](): Promise<void> {
    await this.link?.close();
    this.guest.close();
    await rm(this.directory, { recursive: true, force: true });
  }

  private async dial(): Promise<Duplex> {
    if (!this.alive) throw new Error('the VMM is gone');
    const socket = connect(this.guest.path);
    await once(socket, 'connect');
    return socket;
  }
}
