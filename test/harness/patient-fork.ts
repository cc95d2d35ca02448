import type { ForkInstanceRequest } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';

/** The longest that a caller may wait for its fork's network and acknowledgements. */
export const LONGEST_WAIT = { seconds: 30n, nanos: 0 };

type Deliveries = ForkInstanceRequest['mailboxes'];

/**
 * The request, with the longest waits where it names none: what a guest needs that is emulated on a busy machine is not
 * what the service's own limits are made for. A test that is about a limit names it.
 */
export function patientFork<Fork extends Pick<ForkInstanceRequest, 'networkTimeout' | 'mailboxes'>>(fork: Fork): Fork {
  return {
    ...fork,
    networkTimeout: fork.networkTimeout ?? LONGEST_WAIT,
    mailboxes: patientDeliveries(fork.mailboxes),
  };
}

interface ManyForks<Fork> {
  readonly fork?: Fork | undefined;
  readonly mailboxesByIndex: readonly { readonly mailboxes: Deliveries }[];
}

/** The same for one call that makes many. */
export function patientForks<
  Fork extends Pick<ForkInstanceRequest, 'networkTimeout' | 'mailboxes'>,
  Forks extends ManyForks<Fork>,
>(forks: Forks): Forks {
  return {
    ...forks,
    fork: forks.fork && patientFork(forks.fork),
    mailboxesByIndex: forks.mailboxesByIndex.map(({ mailboxes }) => ({ mailboxes: patientDeliveries(mailboxes) })),
  };
}

const patientDeliveries = (deliveries: Deliveries): Deliveries =>
  deliveries.map((delivery) => ({ ...delivery, ackTimeout: delivery.ackTimeout ?? LONGEST_WAIT }));
