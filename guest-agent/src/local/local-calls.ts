import type { Delivery } from '@offshoot/shared/mailbox/segments.js';
import type { AttachedMailboxes } from '../mailbox/attached-mailboxes.js';
import type { ChannelAcks } from '../mailbox/channel-acks.js';
import type { DeliveryAcks } from '../mailbox/delivery-acks.js';
import type { UserMailboxes } from '../mailbox/user-mailboxes.js';
import type { LocalRequest } from './local-protocol.js';

/** What this VM is now. */
export interface IdentityView {
  readonly hostname: string;
  readonly machineId: string;
  /** Those of the network card; empty where it has none. */
  readonly mac: string;
  readonly ipv4: string;
  readonly gateway: string;
  /** How many identities it was given since its machine booted. */
  readonly generation: number;
}

/** What the local interface works on. */
export interface LocalCallsParts {
  readonly mailboxes: UserMailboxes;
  readonly attached: AttachedMailboxes;
  readonly acks: DeliveryAcks;
  readonly channelAcks: Pick<ChannelAcks, 'send'>;
  readonly describe: () => IdentityView;
  /** Looks at all frames: a delivery whose wake-up is still on its way is found by whoever asks. */
  readonly look: () => void;
}

type Answer = Readonly<Record<string, unknown>>;

/** What clients of the local interface can ask for. */
export class LocalCalls {
  constructor(private readonly parts: LocalCallsParts) {}

  /**
   * The answer's fields besides `id` and `ok`.
   * @param client ends with the client's connection: what it attached is its own, and nobody waits for it any more
   * @throws OffshootError
   */
  async serve(request: LocalRequest, client: AbortSignal): Promise<Answer> {
    const { mailboxes, attached, acks, channelAcks, describe, look } = this.parts;
    switch (request.op) {
      case 'identity':
        return { ...describe() };
      case 'arm': {
        const token = mailboxes.arm(request.name, request.token, request.capacityBytes);
        acks.cancel(request.name);
        return { token };
      }
      case 'wait':
        look();
        return deliveryAnswer(await mailboxes.wait(request.name, until(client, request.timeoutMs)));
      case 'ack': {
        const delivery = mailboxes.delivered(request.name);
        return { confirmed: await acks.send(request.name, delivery, request.stage, request.detail) };
      }
      case 'dispose':
        mailboxes.dispose(request.name);
        acks.cancel(request.name);
        return {};
      case 'attach':
        // An identity that is there already comes into force first.
        look();
        attached.attach(request, client);
        look();
        return {};
      case 'watch':
        look();
        return { generation: await attached.watch(request.name, client, until(client, request.timeoutMs)) };
      case 'detach':
        attached.detach(request.name, client);
        return {};
      case 'send-ack':
        await channelAcks.send(request.ack, client);
        return { confirmed: true };
    }
  }
}

const until = (client: AbortSignal, timeoutMs: number | undefined): AbortSignal =>
  timeoutMs === undefined ? client : AbortSignal.any([client, AbortSignal.timeout(timeoutMs)]);

function deliveryAnswer({ contentType, payload, generation }: Delivery): Answer {
  const content = contentType === 'json' ? { text: payload.toString('utf8') } : { base64: payload.toString('base64') };
  payload.fill(0);
  return { generation, contentType, ...content };
}
