import { ForkInstanceRequest, InstanceServiceService } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { describe, expect, it } from 'vitest';
import { assertText, withStrictText } from './strict-text.js';

const { forkInstance } = withStrictText(InstanceServiceService);

/** The request as a server takes it off the wire, `from` in it replaced by other bytes of the same number. */
function received(token: string, from = '', to = Buffer.alloc(0), data = Buffer.alloc(0)): ForkInstanceRequest {
  const mailboxes = [{ name: 'task', token, payload: { $case: 'data' as const, data } }];
  const wire = Buffer.from(ForkInstanceRequest.encode(ForkInstanceRequest.fromPartial({ mailboxes })).finish());
  if (from !== '') to.copy(wire, wire.indexOf(from));
  return forkInstance.requestDeserialize(wire);
}

describe('the text of a request', () => {
  it.each(['ff', 'c3', 'c080', 'eda080', 'f4908080', 'efbf'])('is refused when it holds the bytes %s', (hex) => {
    const bytes = Buffer.from(hex, 'hex');
    const marks = 'T'.repeat(bytes.length);
    expect(() => {
      assertText(received(`${marks}\ufffd`, marks, bytes));
    }).toThrow(expect.objectContaining({ kind: 'InvalidInput', reason: 'TEXT_NOT_UTF8' }));
  });

  it('may be anything that is UTF-8, the replacement character too, and data may be any bytes', () => {
    expect(() => {
      assertText(received('schlüssel 🔑 \ufffd', '', undefined, Buffer.from('fffec3efbfbd', 'hex')));
    }).not.toThrow();
  });
});
