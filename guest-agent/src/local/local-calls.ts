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

/** What clients of the local interface can ask for. */
export class LocalCalls {
  constructor(
    private readonly mailboxes: UserMailboxes,
    private readonly acks: DeliveryAcks,
    private readonly describe: () => IdentityView,
    /** Looks at all frames: a delivery whose wake-up is still on its way is found by whoever asks. */
    private readonly look: () => void,
  ) {}

  /** The answer's fields besides `id` and `ok`. @throws OffshootError */
  async serve(request: LocalRequest, gone: AbortSignal): Promise<Readonly<Record<string, unknown>>> {
    if (request.op === 'identity') return { ...this.describe() };
    const { name } = request;
    switch (request.op) {
      case 'arm':
        this.acks.cancel(name);
        return { token: this.mailboxes.arm(name, request.token) };
      case 'wait':
        return this.wait(name, request.timeoutMs, gone);
      case 'ack': {
        const delivery = this.mailboxes.delivered(name);
        return { confirmed: await this.acks.send(name, delivery, request.stage, request.detail) };
      }
      case 'dispose':
        this.mailboxes.dispose(name);
        this.acks.cancel(name);
        return {};
    }
  }

  private async wait(
    name: string,
    timeoutMs: number | undefined,
    gone: AbortSignal,
  ): Promise<Readonly<Record<string, unknown>>> {
    this.look();
    const limit = timeoutMs === undefined ? [] : [AbortSignal.timeout(timeoutMs)];
    const { contentType, payload, generation } = await this.mailboxes.wait(name, AbortSignal.any([gone, ...limit]));
    return contentType === 'json'
      ? { generation, contentType, text: payload.toString('utf8') }
      : { generation, contentType, base64: payload.toString('base64') };
  }
}
