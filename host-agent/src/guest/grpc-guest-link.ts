import type { Duplex } from 'node:stream';
import { Unreachable, messageOf } from '@offshoot/shared/errors.js';
import type { Logger } from 'pino';
import type { GuestEvents, GuestLink, GuestLinkFactory } from '../ports/guest-link.js';
import { SessionGuestLink } from './session-guest-link.js';
import { SessionChannel } from './session-channel.js';

/** Opens links that speak offshoot.guest.v1 over the byte channel. */
export class GrpcGuestLinkFactory implements GuestLinkFactory {
  constructor(private readonly options: { readonly hostVersion: string; readonly logger: Logger }) {}

  /** @throws Unreachable when the first dial fails */
  async open(
    options: { dial: (signal?: AbortSignal) => Promise<Duplex>; workloadLogOffset: number; logName: string },
    events: GuestEvents,
    signal?: AbortSignal,
  ): Promise<GuestLink> {
    const logger = this.options.logger.child({ component: 'guest-link', instance: options.logName });
    const link = new SessionGuestLink(this.options.hostVersion, options.workloadLogOffset, events, logger);
    try {
      await link.open(new SessionChannel(options.dial, link, logger), signal);
    } catch (error) {
      await link.close();
      throw new Unreachable(`cannot reach the guest of ${options.logName}: ${messageOf(error)}`, {
        reason: 'GUEST_CHANNEL',
        metadata: { instance: options.logName },
        cause: error,
      });
    }
    return link;
  }
}
