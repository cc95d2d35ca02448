import { readFile } from 'node:fs/promises';
import { OnAckTimeout, type MailboxDelivery } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import type { Duration } from '@offshoot/proto/generated/google/protobuf/duration.js';
import { InvalidInput, messageOf } from '@offshoot/shared/errors.js';
import { splitPair } from './option-values.js';

export interface DeliveryOptions {
  /** `NAME=JSON` or `NAME=@FILE`, each once. */
  readonly mailbox?: readonly string[];
  readonly mailboxToken?: Readonly<Record<string, string>>;
  readonly waitAck: boolean;
  readonly ackTimeout?: Duration;
  readonly keepOnAckTimeout?: boolean;
}

/** @throws InvalidInput for a file that cannot be read, or a token without its mailbox */
export async function readDeliveries(options: DeliveryOptions): Promise<MailboxDelivery[]> {
  const tokens = options.mailboxToken ?? {};
  const deliveries = await Promise.all(
    (options.mailbox ?? []).map(async (spec): Promise<MailboxDelivery> => {
      const [name, value] = splitPair(spec, 'NAME=JSON or NAME=@FILE');
      return {
        name,
        token: tokens[name] ?? '',
        payload: value.startsWith('@') ? await readPayload(value.slice(1)) : { $case: 'json', json: value },
        waitForAck: options.waitAck,
        ackTimeout: options.ackTimeout,
        onAckTimeout:
          options.keepOnAckTimeout === true
            ? OnAckTimeout.ON_ACK_TIMEOUT_KEEP
            : OnAckTimeout.ON_ACK_TIMEOUT_UNSPECIFIED,
      };
    }),
  );
  for (const name of Object.keys(tokens))
    if (!deliveries.some((delivery) => delivery.name === name))
      throw InvalidInput.field('--mailbox-token', `there is no --mailbox ${name}= that it could belong to`);
  return deliveries;
}

/** A file that is called .json, or is JSON, goes as JSON; so a broken .json is refused. Any other goes as bytes. */
async function readPayload(path: string): Promise<NonNullable<MailboxDelivery['payload']>> {
  const data = await readFile(path).catch((error: unknown) => {
    throw new InvalidInput(`--mailbox: cannot read ${path}: ${messageOf(error)}`, {
      reason: 'FILE_UNREADABLE',
      cause: error,
    });
  });
  const text = data.toString('utf8');
  const exact = Buffer.from(text, 'utf8').equals(data);
  return exact && (path.endsWith('.json') || isJson(text)) ? { $case: 'json', json: text } : { $case: 'data', data };
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
