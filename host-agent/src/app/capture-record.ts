import { Unreachable } from '@offshoot/shared/errors.js';
import { NETWORK_MAILBOX } from '@offshoot/shared/mailbox/frame-layout.js';
import type { Capture, Instance } from '../domain/instance.js';
import type { CapturePaths } from '../paths.js';
import type { CaptureResult } from '../ports/driver.js';
import type { Context } from './context.js';
import type { RunningInstance } from './running-instances.js';

/** How long a resumed agent may take to be back, in milliseconds; an agent that died must not keep its VM from being captured. */
const AGENT_READY_MS = 2000;

/**
 * Waits until the agent has armed the mailbox that forks get their address through: just after a fork or restore it may
 * not have come to that yet. An instance that never had an agent is not waited for.
 */
export async function agentReady({ link }: RunningInstance, { agent }: Instance, signal: AbortSignal): Promise<void> {
  if (agent === undefined) return;
  const limit = AbortSignal.timeout(AGENT_READY_MS);
  try {
    await link.waitForMailboxes([NETWORK_MAILBOX], AbortSignal.any([signal, limit]));
  } catch (error) {
    signal.throwIfAborted();
    if (!limit.aborted && !(error instanceof Unreachable)) throw error;
  }
}

/** What is kept of a capture whose files are complete. */
export async function captureRecord(
  { files }: Context,
  { driver, network }: Instance,
  { link, log }: RunningInstance,
  result: CaptureResult,
  paths: Pick<CapturePaths, 'memory'>,
): Promise<Capture> {
  const { stateSha256, regions, driverVersion, machineType, cpuModel, accelerator } = result;
  return {
    takenAt: new Date().toISOString(),
    stateFile: 'device-state',
    stateSha256,
    memoryFile: 'memory',
    memoryStamp: await files.stampOf(paths.memory),
    regions,
    driver,
    driverVersion,
    machineType,
    cpuModel,
    accelerator,
    // What the VM has, which after a change of the configuration may not be what the daemon would give it.
    networkMode: network.tap === undefined ? 'user' : 'tap',
    registeredMailboxes: link.mailboxes() ?? [],
    workloadLogOffset: log.offset,
  };
}
