import { Unreachable, messageOf } from '@offshoot/shared/errors.js';
import type { Logger } from 'pino';
import type { GuestEvents, GuestLink, GuestLinkFactory, GuestLinkOptions } from '../ports/guest-link.js';
import { SessionGuestLink } from './session-guest-link.js';
import { SessionChannel, type SessionChannelEvents } from './session-channel.js';

/** Opens links that speak offshoot.guest.v1 over the byte channel. */
export class GrpcGuestLinkFactory implements GuestLinkFactory {
  constructor(private readonly options: { readonly hostVersion: string; readonly logger: Logger }) {}

  /** @throws Unreachable when the first dial fails */
  async open(options: GuestLinkOptions, events: GuestEvents, signal?: AbortSignal): Promise<GuestLink> {
    const link = this.attach(options, events);
    try {
      await link.open(signal);
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

  attach({ dial, workloadLogOffset, logName }: GuestLinkOptions, events: GuestEvents): SessionGuestLink {
    const logger = this.options.logger.child({ component: 'guest-link', instance: logName });
    const channelOf = (link: SessionChannelEvents): SessionChannel => new SessionChannel(dial, link, logger);
    return new SessionGuestLink(this.options.hostVersion, workloadLogOffset, events, logger, channelOf);
  }
}
