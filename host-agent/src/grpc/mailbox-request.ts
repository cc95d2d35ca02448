import { OnAckTimeout, type MailboxDelivery } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import {
  MAILBOX_NAME_PATTERN,
  MAX_TOKEN_BYTES,
  RESERVED_NAME_PREFIX,
  MAX_PAYLOAD_BYTES,
} from '@offshoot/shared/mailbox/frame-layout.js';
import type { MailboxDeliveryCommand } from '../app/commands.js';
import { parseTimeout } from './field-parsers.js';
import { REQUEST_LIMITS } from './contract/request-limits.js';
import { quoted, type Violations } from './violations.js';

const ON_ACK_TIMEOUT: Readonly<Partial<Record<OnAckTimeout, MailboxDeliveryCommand['onAckTimeout']>>> = {
  [OnAckTimeout.ON_ACK_TIMEOUT_UNSPECIFIED]: 'DELETE',
  [OnAckTimeout.ON_ACK_TIMEOUT_DELETE]: 'DELETE',
  [OnAckTimeout.ON_ACK_TIMEOUT_KEEP]: 'KEEP',
};

/** A fork's deliveries. Whether the mailboxes are armed is for the services to say. */
export function parseDeliveries(
  field: string,
  deliveries: readonly MailboxDelivery[],
  violations: Violations,
): MailboxDeliveryCommand[] {
  if (deliveries.length > REQUEST_LIMITS.mailboxes) {
    violations.add(
      field,
      `must be at most ${String(REQUEST_LIMITS.mailboxes)}, got ${String(deliveries.length)}`,
      'TOO_MANY_MAILBOXES',
    );
    return [];
  }
  const seen = new Map<string, number>();
  return deliveries.map((delivery, i) => {
    const at = `${field}[${String(i)}]`;
    checkMailboxName(`${at}.name`, delivery.name, violations);
    const first = seen.get(delivery.name);
    if (first === undefined) seen.set(delivery.name, i);
    else
      violations.add(
        `${at}.name`,
        `must be given once, got ${quoted(delivery.name)} in ${field}[${String(first)}] too`,
        'DUPLICATE_MAILBOX',
      );
    const onAckTimeout = ON_ACK_TIMEOUT[delivery.onAckTimeout];
    if (onAckTimeout === undefined)
      violations.add(`${at}.on_ack_timeout`, `must be DELETE or KEEP, got ${String(delivery.onAckTimeout)}`);
    return {
      name: delivery.name,
      token: parseToken(`${at}.token`, delivery.token, violations),
      ...parsePayload(at, delivery.payload, violations),
      waitForAck: delivery.waitForAck ?? true,
      // Checked whether or not it is waited for: a negative time is a mistake in either case.
      ackTimeoutMs: parseTimeout(`${at}.ack_timeout`, delivery.ackTimeout, REQUEST_LIMITS.ackTimeoutMs, violations),
      onAckTimeout: onAckTimeout ?? 'DELETE',
    };
  });
}

/** A name guest software can have armed; `offshoot.` is Offshoot's own. */
export function checkMailboxName(field: string, name: string, violations: Violations): void {
  if (!MAILBOX_NAME_PATTERN.test(name))
    violations.add(field, `must be 1 to 64 of A-Z a-z 0-9 . _ : -, got ${quoted(name)}`, 'MAILBOX_NAME_MALFORMED');
  else if (name.startsWith(RESERVED_NAME_PREFIX))
    violations.add(
      field,
      `must not begin with ${quoted(RESERVED_NAME_PREFIX)}, which is reserved, got ${quoted(name)}`,
      'MAILBOX_NAME_RESERVED',
    );
}

/** Undefined when empty. The token is a secret: only its length is ever told. */
function parseToken(field: string, token: string, violations: Violations): string | undefined {
  const bytes = Buffer.byteLength(token);
  if (bytes > MAX_TOKEN_BYTES)
    violations.add(field, `must be at most ${String(MAX_TOKEN_BYTES)} bytes, got ${String(bytes)}`);
  if (token.includes('\0')) violations.add(field, 'must not contain NUL, which ends a token in the frame');
  return token === '' ? undefined : token;
}

function parsePayload(
  at: string,
  payload: MailboxDelivery['payload'],
  violations: Violations,
): Pick<MailboxDeliveryCommand, 'contentType' | 'payload'> {
  if (payload === undefined) {
    violations.add(at, 'needs a payload: set json or data', 'MAILBOX_PAYLOAD_MISSING');
    return { contentType: 'bytes', payload: Buffer.alloc(0) };
  }
  const isJson = payload.$case === 'json';
  const bytes = isJson ? Buffer.from(payload.json, 'utf8') : payload.data;
  const field = `${at}.${payload.$case}`;
  if (bytes.length > MAX_PAYLOAD_BYTES)
    violations.add(
      field,
      `must be at most ${String(MAX_PAYLOAD_BYTES)} bytes, got ${String(bytes.length)}`,
      'MAILBOX_PAYLOAD_TOO_LARGE',
    );
  else if (isJson && !isJsonText(payload.json))
    violations.add(
      field,
      'must be JSON text (a string needs its quotes); use data for other bytes',
      'MAILBOX_NOT_JSON',
    );
  return { contentType: isJson ? 'json' : 'bytes', payload: bytes };
}

function isJsonText(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false; // the parser's message would quote the payload
  }
}
