import type { ServiceDefinition } from '@grpc/grpc-js';
import { InvalidInput } from '@offshoot/shared/errors.js';

/** Requests in which something that should be text was not. */
const replaced = new WeakSet();

/** What a lenient decoder puts in place of bytes that are no UTF-8: U+FFFD. */
const REPLACEMENT = Buffer.from('\ufffd', 'utf8');

function replacementsIn(bytes: Buffer): number {
  let count = 0;
  for (let at = bytes.indexOf(REPLACEMENT); at >= 0; at = bytes.indexOf(REPLACEMENT, at + 1)) count++;
  return count;
}

/**
 * The service with requests in which {@link assertText} finds text that is not UTF-8. The generated decoder replaces such bytes
 * without a word, so that a token would be another and JSON not what the caller gave; and a decoder that throws is
 * answered by grpc-js with INTERNAL and no reason.
 */
export function withStrictText<Service extends ServiceDefinition>(service: Service): Service {
  const methods = Object.entries(service).map(([name, method]) => {
    const requestDeserialize = (bytes: Buffer): unknown => {
      const request: unknown = method.requestDeserialize(bytes);
      // Written out again it has more of them only where decoding put one in.
      const isReplaced = replacementsIn(method.requestSerialize(request)) > replacementsIn(bytes);
      if (isReplaced && typeof request === 'object' && request !== null) replaced.add(request);
      return request;
    };
    return [name, { ...method, requestDeserialize }];
  });
  return Object.fromEntries(methods) as Service;
}

/** @throws InvalidInput when a text of the request is not UTF-8 */
export function assertText(request: unknown): void {
  if (typeof request !== 'object' || request === null || !replaced.has(request)) return;
  throw new InvalidInput('a text of the request, such as a token or JSON, is not UTF-8; other bytes go as data', {
    reason: 'TEXT_NOT_UTF8',
  });
}
