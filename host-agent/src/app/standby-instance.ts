import { Timeout } from '@offshoot/shared/errors.js';
import { RESERVED_NAME_PREFIX } from '@offshoot/shared/mailbox/frame-layout.js';
import { goOnAfter } from '../domain/go-on-after.js';
import { assertAllowed } from '../domain/instance-state.js';
import type { Instance } from '../domain/instance.js';
import type { CaptureStep } from '../domain/operations.js';
import type { CaptureResult } from '../ports/driver.js';
import { agentReady, captureRecord } from './capture-record.js';
import type { StandbyInstanceCommand } from './commands.js';
import type { Context } from './context.js';
import { layDisk } from './disk-layer.js';
import { assertCapability } from './drivers.js';
import { HeldGuest } from './held-guest.js';
import { changed } from './instance-record.js';
import { Operation } from './operation.js';
import { closeLink, runningVm } from './running-instances.js';

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
  await assertCapability(context, instance.driver, 'snapshot', signal);
  const running = runningVm(context.running, instance);
  const paths = context.paths.instance(id);
  if (instance.state === 'RUNNING') await agentReady(running, instance, signal);
  const goOn = (): Promise<void> => (instance.state === 'RUNNING' ? running.vm.resume() : running.vm.pause());

  await using operation = Operation.begin(context, 'standby-instance', id, signal);
  const onReached = (step: CaptureStep): void => {
    operation.reached(step);
  };
  using _quiet = context.merger.holdOff();
  await using held = await HeldGuest.hold(instance, running, command.freezeWorkload, context.logger, signal);
  operation.reached('hold');
  await layDisk(context, instance, running.vm, signal);
  operation.reached('lay disk');
  let result: CaptureResult;
  try {
    result = await running.vm.capture(
      { stateFile: paths.deviceState, memoryFile: paths.nextMemory },
      { onReached },
      signal,
    );
  } catch (error) {
    await goOnAfter(error, goOn); // the driver let it run, and a paused instance has to stay one
    throw error;
  }
  let answer: { readonly instance: Instance; readonly captureMs: number };
  try {
    held.assertHeld(result.pauseMs);
    const capture = await captureRecord(context, instance, running, result, { memory: result.memoryFile });
    const parked = changed(instance, 'STANDBY', { capture, vmm: undefined });
    answer = { instance: parked, captureMs: result.pauseMs };
    // The row first: a daemon killed after this line finds a parked instance, gives it this memory, and ends the paused VMM.
    // The other way round it would find a running one whose base has lost its name.
    await operation.record(parked, { durable: false, before: instance, answer });
    if (result.memoryFile === paths.nextMemory) await context.files.adoptNextMemory(id);
    operation.reached('adopt memory');
  } catch (error) {
    try {
      await goOnAfter(error, goOn);
    } finally {
      await context.files.dropMoment(id);
    }
    throw error;
  }
  operation.release();
  held.keep();
  context.running.remove(id);
  await closeLink(running);
  await running.vm.kill();
  operation.reached('end hypervisor');
  return answer;
}

async function waitForMailboxes(context: Context, command: StandbyInstanceCommand, signal: AbortSignal): Promise<void> {
  const instance = context.store.resolve(command.instance);
  assertAllowed('standby', instance.name, instance.state);
  const { link } = runningVm(context.running, instance);
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
