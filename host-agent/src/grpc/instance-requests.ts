import {
  LogSource as WireLogSource,
  type CreateInstanceRequest,
  type ListInstancesRequest,
  type ReviewCredentialRequest,
  type StandbyInstanceRequest,
  type StopInstanceRequest,
  type StreamLogsRequest,
} from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import { CREDENTIAL_LENGTH, CREDENTIAL_PATTERN } from '@offshoot/shared/credential.js';
import type {
  CreateInstanceCommand,
  ListInstancesCommand,
  LogSource,
  StandbyInstanceCommand,
} from '../app/commands.js';
import type { InstanceState as State } from '../domain/instance-state.js';
import { parseDuration, parseLabels, parseName, parsePage, parseReference, parseTimeout } from './field-parsers.js';
import { parseInjection } from './injection-request.js';
import { instanceStateOf } from './instance-message.js';
import { checkMailboxName } from './mailbox-request.js';
import { REQUEST_LIMITS as L } from './contract/request-limits.js';
import { collecting, type Violations } from './violations.js';
import { parseWorkload } from './workload-request.js';

export const parseCreate = (request: CreateInstanceRequest): CreateInstanceCommand =>
  collecting((violations) => ({
    name: parseName('name', request.name, violations),
    image: request.image === '' ? 'default' : parseReference('image', request.image, violations),
    driver: request.driver === '' ? undefined : parseReference('driver', request.driver, violations),
    vcpus: parseVcpus(request.vcpus, violations),
    memoryBytes: parseMemory(request.memoryBytes, violations),
    diskBytes: parseDiskSize(request.diskBytes, violations),
    injection: parseInjection(request, violations),
    labels: parseLabels('labels', request.labels, violations),
    workload: parseWorkload('workload', request.workload, violations),
  }));

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
  collecting((violations) => ({
    ...parsePage(request, violations),
    states: parseStates(request.states, violations),
    labels: parseLabels('labels', request.labels, violations),
  }));

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

/** Not repeated in the error: what is nearly a credential may be one with a slip. */
export const parseCredential = ({ credential }: ReviewCredentialRequest): string =>
  collecting((violations) => {
    if (!CREDENTIAL_PATTERN.test(credential))
      violations.add(
        'credential',
        `must be ${String(CREDENTIAL_LENGTH)} characters of base64url, as in the guest's /run/offshoot/credential; got ${String(credential.length)} characters`,
      );
    return credential;
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

/** Whether the image fits is for the services to say. */
function parseDiskSize(bytes: bigint, violations: Violations): number | undefined {
  const { max, multipleOf } = L.disk;
  if (bytes === 0n) return undefined;
  if (bytes > BigInt(max) || bytes % BigInt(multipleOf) !== 0n)
    violations.add(
      'disk_bytes',
      `must be a multiple of 1 MiB up to 512 GiB (${String(max)}), and at least the image's size, got ${String(bytes)}`,
    );
  return Number(bytes);
}
