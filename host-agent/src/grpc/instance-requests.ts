import {
  LogSource as WireLogSource,
  ForkInstanceRequest,
  type CreateInstanceRequest,
  type ForkInstancesRequest,
  type ListInstancesRequest,
  type StandbyInstanceRequest,
  type StopInstanceRequest,
  type StreamLogsRequest,
} from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { InstanceState } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import type {
  CreateInstanceCommand,
  ForkInstanceCommand,
  ForkInstancesCommand,
  ListInstancesCommand,
  LogSource,
  StandbyInstanceCommand,
} from '../app/commands.js';
import type { InstanceState as State } from '../domain/instance-state.js';
import { parseDuration, parseLabels, parseName, parseReference, parseTimeout } from './field-parsers.js';
import { instanceStateOf } from './instance-message.js';
import { checkMailboxName, parseDeliveries } from './mailbox-request.js';
import { REQUEST_LIMITS as L } from './contract/request-limits.js';
import { quoted, Violations } from './violations.js';
import { parseWorkload } from './workload-request.js';

/** Parses with all violations collected. @throws InvalidInput */
function collecting<T>(parse: (violations: Violations) => T): T {
  const violations = new Violations();
  const parsed = parse(violations);
  violations.check();
  return parsed;
}

export const parseCreate = (request: CreateInstanceRequest): CreateInstanceCommand =>
  collecting((violations) => ({
    name: parseName('name', request.name, violations),
    image: request.image === '' ? 'default' : parseReference('image', request.image, violations),
    driver: request.driver === '' ? undefined : parseReference('driver', request.driver, violations),
    vcpus: parseVcpus(request.vcpus, violations),
    memoryBytes: parseMemory(request.memoryBytes, violations),
    labels: parseLabels('labels', request.labels, violations),
    workload: parseWorkload('workload', request.workload, violations),
  }));

export const parseFork = (request: ForkInstanceRequest): ForkInstanceCommand =>
  collecting((violations) => forkCommand('', request, violations));

export const parseForks = ({
  fork,
  count,
  mailboxesByIndex,
  allOrNothing,
}: ForkInstancesRequest): ForkInstancesCommand =>
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
    const command = forkCommand('fork.', { ...common, name: `${common.name}${suffix}` }, violations);
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
function forkCommand(at: string, request: ForkInstanceRequest, violations: Violations): ForkInstanceCommand {
  return {
    source: parseReference(`${at}source`, request.source, violations),
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
  if (state === 'RUNNING' || state === 'STOPPED') return state;
  violations.add(field, `must be RUNNING or STOPPED, got ${state ?? String(wire)}`);
  return undefined;
}

export const parseStandby = (request: StandbyInstanceRequest): StandbyInstanceCommand =>
  collecting((violations) => {
    const waitMailboxes = [...new Set(request.waitMailboxes)];
    if (waitMailboxes.length > L.mailboxes)
      violations.add('wait_mailboxes', `must be at most ${String(L.mailboxes)}, got ${String(waitMailboxes.length)}`);
    else
      request.waitMailboxes.forEach((name, i) => {
        checkMailboxName(`wait_mailboxes[${String(i)}]`, name, violations);
      });
    return {
      instance: parseReference('instance', request.instance, violations),
      waitMailboxes,
      freezeWorkload: request.freezeWorkload ?? true,
      waitTimeoutMs: parseTimeout('wait_timeout', request.waitTimeout, L.waitTimeoutMs, violations),
    };
  });

export const parseList = (request: ListInstancesRequest): ListInstancesCommand =>
  collecting((violations) => {
    if (request.pageSize > L.pageSize.max)
      violations.add(
        'page_size',
        `must be 1 to ${String(L.pageSize.max)} (${String(L.pageSize.default)} when 0), got ${String(request.pageSize)}`,
      );
    if (request.pageToken.length > L.pageTokenLength || !/^[\x21-\x7e]*$/.test(request.pageToken))
      violations.add('page_token', `must be a next_page_token of an earlier answer, got ${quoted(request.pageToken)}`);
    return {
      pageSize: request.pageSize === 0 ? L.pageSize.default : request.pageSize,
      pageToken: request.pageToken,
      states: parseStates(request.states, violations),
      labels: parseLabels('labels', request.labels, violations),
    };
  });

/** Here 0 is not the default: a guest may be given no time at all. */
export const parseStop = (request: StopInstanceRequest): { instance: string; graceMs: number } =>
  collecting((violations) => ({
    instance: parseReference('instance', request.instance, violations),
    graceMs: parseDuration('grace_period', request.gracePeriod, L.gracePeriodMs, violations),
  }));

export const parseLogs = (request: StreamLogsRequest): { instance: string; source: LogSource; follow: boolean } =>
  collecting((violations) => {
    const source = LOG_SOURCE[request.source];
    if (source === undefined)
      violations.add('source', `must be WORKLOAD, CONSOLE or VMM, got ${String(request.source)}`);
    return {
      instance: parseReference('instance', request.instance, violations),
      source: source ?? 'workload',
      follow: request.follow,
    };
  });

/** For requests that only name an instance. */
export const parseInstance = (request: { instance: string }): string =>
  collecting((violations) => parseReference('instance', request.instance, violations));

const LOG_SOURCE: Readonly<Partial<Record<WireLogSource, LogSource>>> = {
  [WireLogSource.LOG_SOURCE_UNSPECIFIED]: 'workload',
  [WireLogSource.LOG_SOURCE_WORKLOAD]: 'workload',
  [WireLogSource.LOG_SOURCE_CONSOLE]: 'console',
  [WireLogSource.LOG_SOURCE_VMM]: 'vmm',
};

function parseStates(states: ListInstancesRequest['states'], violations: Violations): State[] {
  const parsed = new Set<State>();
  states.forEach((wire, i) => {
    const state = instanceStateOf(wire);
    if (state === undefined)
      violations.add(
        `states[${String(i)}]`,
        `must be CREATING, RUNNING, PAUSED, STANDBY, STOPPED or FAILED, got ${String(wire)}`,
      );
    else parsed.add(state);
  });
  return [...parsed];
}

function parseVcpus(vcpus: number, violations: Violations): number {
  const { min, max } = L.vcpus;
  if (vcpus > max) violations.add('vcpus', `must be ${String(min)} to ${String(max)}, got ${String(vcpus)}`);
  return vcpus === 0 ? L.vcpus.default : vcpus;
}

function parseMemory(bytes: bigint, violations: Violations): number {
  const { min, max, multipleOf } = L.memory;
  if (bytes === 0n) return L.memory.default;
  if (bytes < BigInt(min) || bytes > BigInt(max) || bytes % BigInt(multipleOf) !== 0n)
    violations.add(
      'memory_bytes',
      `must be a multiple of 2 MiB from 128 MiB (${String(min)}) to 64 GiB (${String(max)}), got ${String(bytes)}`,
    );
  return Number(bytes);
}
