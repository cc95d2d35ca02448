import { InvalidState, Timeout, Unreachable } from '@offshoot/shared/errors.js';
import { NETWORK_MAILBOX, RESERVED_NAME_PREFIX } from '@offshoot/shared/mailbox/frame-layout.js';
import { assertAllowed } from '../domain/instance-state.js';
import type { Capture, Instance } from '../domain/instance.js';
import type { StandbyInstanceCommand } from './commands.js';
import type { Context } from './context.js';
import { assertCapability } from './drivers.js';
import { changed, save } from './instance-record.js';
import { closeLink, type RunningInstance } from './running-instances.js';

/** Parks a running instance. On failure it runs on. */
export async function standbyInstance(
  context: Context,
  command: StandbyInstanceCommand,
  signal: AbortSignal,
): Promise<{ instance: Instance; captureMs: number }> {
  const { id } = context.store.resolve(command.instance);
  // Without the lock: stopping or deleting the instance must not have to wait for a mailbox that is never armed.
  if (command.waitMailboxes.length > 0) await waitForMailboxes(context, command, signal);

  using _lock = await context.locks.exclusive(id, signal);
  const instance = context.store.resolve(id);
  assertAllowed('standby', instance.name, instance.state);
  assertCapability(instance.driver, 'snapshot');
  const running = runningVm(context, instance);
  const paths = context.paths.instance(id);
  if (instance.agent !== undefined) await agentReady(running, signal);

  const result = await running.vm.capture({ stateFile: paths.deviceState, memoryFile: paths.nextMemory }, signal);
  // From here on the caller's signal is not asked any more: the capture is complete, and the state has to follow.
  let parked: Instance;
  try {
    if (result.memoryFile === paths.nextMemory) await context.files.adoptNextMemory(id);
    const capture: Capture = {
      takenAt: new Date().toISOString(),
      stateFile: 'device-state',
      stateSha256: result.stateSha256,
      memoryFile: 'memory',
      memoryStamp: await context.files.stampOf(paths.memory),
      regions: result.regions,
      driver: instance.driver,
      driverVersion: result.driverVersion,
      machineType: result.machineType,
      cpuModel: result.cpuModel,
      accelerator: result.accelerator,
      // What the VM has, which after a change of the configuration may not be what the daemon would give it.
      networkMode: instance.network.tap === undefined ? 'user' : 'tap',
      registeredMailboxes: running.link.mailboxes() ?? [],
      workloadLogOffset: running.log.offset,
    };
    parked = changed(instance, 'STANDBY', { capture, vmm: undefined });
    // The row first: a daemon killed after this line finds a parked instance and ends the paused VMM.
    await save(context, parked, { durable: false });
  } catch (error) {
    await running.vm.resume();
    throw error;
  }
  context.running.remove(id);
  await closeLink(running);
  await running.vm.kill();
  return { instance: parked, captureMs: result.pauseMs };
}

/** How long a resumed agent may take to be back, in milliseconds; an agent that died must not keep its VM from being parked. */
const AGENT_READY_MS = 2000;

/**
 * Waits until the agent has armed the mailbox that forks get their address through: just after a fork or restore it may
 * not have come to that yet.
 */
async function agentReady({ link }: RunningInstance, signal: AbortSignal): Promise<void> {
  const limit = AbortSignal.timeout(AGENT_READY_MS);
  try {
    await link.waitForMailboxes([NETWORK_MAILBOX], AbortSignal.any([signal, limit]));
  } catch (error) {
    signal.throwIfAborted();
    if (!limit.aborted && !(error instanceof Unreachable)) throw error;
  }
}

async function waitForMailboxes(context: Context, command: StandbyInstanceCommand, signal: AbortSignal): Promise<void> {
  const instance = context.store.resolve(command.instance);
  assertAllowed('standby', instance.name, instance.state);
  const { link } = runningVm(context, instance);
  const limit = AbortSignal.timeout(command.waitTimeoutMs);
  try {
    await link.waitForMailboxes(command.waitMailboxes, AbortSignal.any([signal, limit]));
  } catch (error) {
    if (!limit.aborted || signal.aborted) throw error;
    const armed = (link.mailboxes() ?? [])
      .filter(({ state, name }) => state === 'armed' && !name.startsWith(RESERVED_NAME_PREFIX))
      .map(({ name }) => name);
    throw new Timeout(
      `mailboxes ${command.waitMailboxes.join(', ')} of ${instance.name} were not all registered as armed within ${String(command.waitTimeoutMs)} ms; armed: ${armed.join(', ') || 'none'} (a frame armed without the guest agent cannot be waited for)`,
      { reason: 'MAILBOX_WAIT_TIMEOUT', metadata: { armed: armed.join(',') }, cause: error },
    );
  }
}

/** @throws Unreachable when the row says RUNNING but the VMM is just gone */
export function runningVm(context: Context, instance: Instance): RunningInstance {
  const running = context.running.get(instance.id);
  if (running !== undefined) return running;
  if (instance.state !== 'RUNNING')
    throw new InvalidState(`instance ${instance.name} is ${instance.state}`, { reason: 'INSTANCE_STATE' });
  throw new Unreachable(`the hypervisor of ${instance.name} is gone`, {
    reason: 'VMM_GONE',
    metadata: { instance: instance.name },
  });
}
