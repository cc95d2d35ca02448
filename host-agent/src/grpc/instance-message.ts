import {
  InstanceState as WireState,
  MailboxArmedBy,
  MailboxState as WireMailboxState,
  type Instance as InstanceMessage,
  type InstanceStorage,
  type Mailbox,
} from '@offshoot/proto/generated/offshoot/v1/instance.js';
import type { MailboxView } from '../app/commands.js';
import type { Instance } from '../domain/instance.js';
import type { InstanceState } from '../domain/instance-state.js';
import type { StorageUse } from '../ports/instance-files.js';

const WIRE_STATE: Readonly<Record<InstanceState, WireState>> = {
  CREATING: WireState.INSTANCE_STATE_CREATING,
  RUNNING: WireState.INSTANCE_STATE_RUNNING,
  PAUSED: WireState.INSTANCE_STATE_PAUSED,
  STANDBY: WireState.INSTANCE_STATE_STANDBY,
  STOPPED: WireState.INSTANCE_STATE_STOPPED,
  FAILED: WireState.INSTANCE_STATE_FAILED,
};
const STATE_OF_WIRE = new Map(Object.entries(WIRE_STATE).map(([state, wire]) => [wire, state as InstanceState]));

const WIRE_ARMED_BY: Readonly<Record<MailboxView['armedBy'], MailboxArmedBy>> = {
  agent: MailboxArmedBy.MAILBOX_ARMED_BY_AGENT,
  program: MailboxArmedBy.MAILBOX_ARMED_BY_PROGRAM,
};

const WIRE_MAILBOX_STATE: Readonly<Record<MailboxView['state'], WireMailboxState>> = {
  armed: WireMailboxState.MAILBOX_STATE_ARMED,
  delivered: WireMailboxState.MAILBOX_STATE_DELIVERED,
  consumed: WireMailboxState.MAILBOX_STATE_CONSUMED,
  disposed: WireMailboxState.MAILBOX_STATE_DISPOSED,
};

/** Undefined for UNSPECIFIED and for numbers this version does not know. */
export const instanceStateOf = (wire: WireState): InstanceState | undefined => STATE_OF_WIRE.get(wire);

/** @param directory absolute path of the instance's folder */
export function toInstanceMessage(instance: Instance, directory: string): InstanceMessage {
  const { network, agent } = instance;
  return {
    id: instance.id,
    name: instance.name,
    state: WIRE_STATE[instance.state],
    stateReason: instance.stateReason,
    labels: { ...instance.labels },
    imageId: instance.imageId,
    driver: instance.driver,
    vcpus: instance.vcpus,
    memoryBytes: BigInt(instance.memoryBytes),
    diskBytes: BigInt(instance.diskBytes ?? 0),
    network: {
      mac: network.mac,
      ipv4: network.ipv4,
      prefixLength: network.prefixLength,
      gateway: network.gateway,
      tap: network.tap ?? '',
    },
    forkedFrom: instance.forkedFrom ?? '',
    forkedFromSnapshot: instance.forkedFromSnapshot ?? '',
    createTime: new Date(instance.createdAt),
    vmmPid: instance.vmm?.pid ?? 0,
    agent: agent && { version: agent.version, bootId: agent.bootId, kernelRelease: agent.kernelRelease },
    directory,
  };
}

export const toMailboxMessage = (mailbox: MailboxView): Mailbox => ({
  name: mailbox.name,
  tokenFingerprint: mailbox.tokenFingerprint,
  state: WIRE_MAILBOX_STATE[mailbox.state],
  capacityBytes: mailbox.capacityBytes,
  generation: mailbox.generation,
  registered: mailbox.registered,
  segments: mailbox.segments,
  segmentsFound: mailbox.segmentsFound,
  armedBy: WIRE_ARMED_BY[mailbox.armedBy],
  token: mailbox.token,
});

export const toStorageMessage = ({ ownBytes, sharedBytes }: StorageUse): InstanceStorage => ({
  ownBytes: BigInt(ownBytes),
  sharedBytes: BigInt(sharedBytes),
});
