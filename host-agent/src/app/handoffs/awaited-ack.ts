import { Aborted, Timeout } from '@offshoot/shared/errors.js';
import type { Ack } from '@offshoot/shared/mailbox/ack-line.js';
import type { PendingAck } from '../../ports/ack-listener.js';

/**
 * Waits for the guest's last word on a delivery. The caller's own end (cancelled, past its deadline) goes first.
 * @throws Timeout `ACK_TIMEOUT` after `timeoutMs`; Aborted `GUEST_FAILED` with the guest's own words when it answered `failed`
 */
export async function awaitAck(
  pending: PendingAck,
  mailbox: string,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<Ack> {
  const limit = AbortSignal.timeout(timeoutMs);
  let ack: Ack;
  try {
    ack = await pending.wait(AbortSignal.any([signal, limit]));
  } catch (error) {
    signal.throwIfAborted();
    if (!limit.aborted) throw error;
    throw new Timeout(`the guest did not acknowledge mailbox ${mailbox} within ${String(timeoutMs)} ms`, {
      reason: 'ACK_TIMEOUT',
      metadata: { mailbox },
      cause: error,
    });
  }
  if (ack.stage === 'failed')
    throw new Aborted(`the guest could not apply mailbox ${mailbox}: ${ack.detail || '(it gave no reason)'}`, {
      reason: 'GUEST_FAILED',
      metadata: { mailbox, detail: ack.detail },
    });
  return ack;
}
