import {
  ForkInstanceRequest,
  type ForkInstancesRequest,
} from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { InstanceState } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import type {
  ForkSnapshotRequest,
  ForkSnapshotsRequest,
} from '@offshoot/proto/generated/offshoot/v1/snapshot_service.js';
import type { ForkInstanceCommand, ForkInstancesCommand } from '../app/commands.js';
import { parseLabels, parseName, parseReference, parseTimeout } from './field-parsers.js';
import { instanceStateOf } from './instance-message.js';
import { parseDeliveries } from './mailbox-request.js';
import { REQUEST_LIMITS as L } from './contract/request-limits.js';
import { collecting, quoted, type Violations } from './violations.js';

export const parseFork = (request: ForkInstanceRequest): ForkInstanceCommand =>
  collecting((violations) => forkCommand({ at: '', of: 'instance' }, request, violations));

export const parseForkSnapshot = (request: ForkSnapshotRequest): ForkInstanceCommand =>
  collecting((violations) => forkCommand({ at: '', of: 'snapshot' }, ofSnapshot(request), violations));

export const parseForks = (request: ForkInstancesRequest): ForkInstancesCommand => forksCommand('instance', request);

export const parseForkSnapshots = ({ fork, ...request }: ForkSnapshotsRequest): ForkInstancesCommand =>
  forksCommand('snapshot', { ...request, fork: fork && ofSnapshot(fork) });

/** A fork of a snapshot is asked for as one of an instance at rest is. */
const ofSnapshot = ({ snapshot, ...request }: ForkSnapshotRequest): ForkInstanceRequest =>
  ForkInstanceRequest.fromPartial({ ...request, source: snapshot });

const forksCommand = (
  of: ForkInstanceCommand['of'],
  { fork, count, mailboxesByIndex, allOrNothing }: ForkInstancesRequest,
): ForkInstancesCommand =>
  collecting((violations) => {
    if (count < 1 || count > L.forks) violations.add('count', `must be 1 to ${String(L.forks)}, got ${String(count)}`);
    if (mailboxesByIndex.length > 0 && mailboxesByIndex.length !== count)
      violations.add(
        'mailboxes_by_index',
        `must have an entry for each of the ${String(count)} forks or none, got ${String(mailboxesByIndex.length)}`,
      );
    // The longest name of all is the last fork's.
    const suffix = fork === undefined || fork.name === '' ? '' : `-${String(Math.max(count, 1) - 1)}`;
    const common = fork ?? ForkInstanceRequest.fromPartial({});
    if (common.requestId !== '')
      violations.add('fork.request_id', 'must be empty: the id is that of the whole request');
    const command = forkCommand({ at: 'fork.', of }, { ...common, name: `${common.name}${suffix}` }, violations);
    const named = new Set(command.mailboxes.map(({ name }) => name));
    return {
      fork: { ...command, name: common.name === '' ? undefined : common.name },
      count,
      allOrNothing,
      mailboxesByIndex: mailboxesByIndex.slice(0, L.forks).map(({ mailboxes }, i) => {
        const field = `mailboxes_by_index[${String(i)}].mailboxes`;
        const deliveries = parseDeliveries(field, mailboxes, violations);
        if (deliveries.length + command.mailboxes.length > L.mailboxes)
          violations.add(
            field,
            `must be at most ${String(L.mailboxes)} together with fork.mailboxes`,
            'TOO_MANY_MAILBOXES',
          );
        for (const { name } of deliveries)
          if (named.has(name))
            violations.add(field, `${quoted(name)} is in fork.mailboxes already`, 'DUPLICATE_MAILBOX');
        return deliveries;
      }),
    };
  });

/** @param at where the request stands in the whole one, with the dot */
function forkCommand(
  { at, of }: { at: string; of: ForkInstanceCommand['of'] },
  request: ForkInstanceRequest,
  violations: Violations,
): ForkInstanceCommand {
  return {
    of,
    source: parseReference(`${at}${of === 'snapshot' ? 'snapshot' : 'source'}`, request.source, violations),
    name: parseName(`${at}name`, request.name, violations),
    labels: parseLabels(`${at}labels`, request.labels, violations),
    mailboxes: parseDeliveries(`${at}mailboxes`, request.mailboxes, violations),
    waitForNetwork: request.waitForNetwork ?? true,
    networkTimeoutMs: parseTimeout(`${at}network_timeout`, request.networkTimeout, L.networkTimeoutMs, violations),
    fromRunning: request.fromRunning,
    targetState: parseTarget(`${at}target_state`, request.targetState, violations),
    freezeWorkload: request.freezeWorkload ?? true,
  };
}

function parseTarget(
  field: string,
  wire: ForkInstanceRequest['targetState'],
  violations: Violations,
): ForkInstanceCommand['targetState'] {
  if (wire === InstanceState.INSTANCE_STATE_UNSPECIFIED) return undefined;
  const state = instanceStateOf(wire);
  if (state === 'RUNNING' || state === 'STANDBY' || state === 'STOPPED') return state;
  violations.add(field, `must be RUNNING, STANDBY or STOPPED, got ${state ?? String(wire)}`);
  return undefined;
}
