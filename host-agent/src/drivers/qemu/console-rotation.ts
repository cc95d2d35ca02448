import { closeSync } from 'node:fs';
import { rename, stat } from 'node:fs/promises';
import { OffshootError, messageOf } from '@offshoot/shared/errors.js';
import type { Logger } from 'pino';
import { unlessMissing } from '../../os/unless-missing.js';
import type { MachineSpec } from '../../ports/driver.js';
import { ROTATE_AT_BYTES, consoleLog, openLog } from '../vmm-log.js';
import { CONSOLE_CHARDEV } from './command-line.js';
import type { QmpClient } from './qmp-client.js';

/** A guest that writes to its console all the time has written some tens of MiB when this has passed. */
const LOOK_EVERY_MS = 10_000;

type LogSpec = Pick<MachineSpec, 'logDirectory'>;

/**
 * Puts the console log aside, in the place of the one put aside before, when it has become long, and has QEMU go on in a new one:
 * it writes the file by itself, without any limit.
 * @returns whether it was that long
 * @throws what QEMU answers; it then goes on in the file it has
 */
export async function rotateConsole(qmp: QmpClient, spec: LogSpec, signal?: AbortSignal): Promise<boolean> {
  const path = consoleLog(spec);
  const log = await unlessMissing(stat(path));
  if (log === undefined || log.size < ROTATE_AT_BYTES) return false;
  await rename(path, `${path}.1`);
  closeSync(openLog(path));
  try {
    const backend = { type: 'file', data: { out: path, append: true } };
    await qmp.run('chardev-change', { id: CONSOLE_CHARDEV, backend }, signal);
  } catch (error) {
    // Only where QEMU said no: else it may have the new one open.
    if (error instanceof OffshootError && error.reason === 'HYPERVISOR_REFUSED') await rename(`${path}.1`, path);
    throw error;
  }
  return true;
}

/** Looks at a VM's console log now and then, as long as it is not disposed of. */
export class ConsoleRotation implements Disposable {
  private readonly timer: NodeJS.Timeout;
  private isLooking = false;

  /** @param qmp of the VMM that the VM has at that time */
  constructor(
    private readonly qmp: () => QmpClient,
    private readonly spec: LogSpec,
    private readonly logger: Logger,
  ) {
    this.timer = setInterval(() => {
      void this.look();
    }, LOOK_EVERY_MS).unref();
  }

  [Symbol.dispose](): void {
    clearInterval(this.timer);
  }

  private async look(): Promise<void> {
    if (this.isLooking) return;
    this.isLooking = true;
    try {
      await rotateConsole(this.qmp(), this.spec);
    } catch (error) {
      this.logger.warn({ path: consoleLog(this.spec), error: messageOf(error) }, 'a console log was not put aside');
    } finally {
      this.isLooking = false;
    }
  }
}
