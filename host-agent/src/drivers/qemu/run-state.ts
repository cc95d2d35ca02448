import * as z from 'zod';
import type { QmpClient } from './qmp-client.js';

const STATUS = z.object({ running: z.boolean() });

/** Whether the guest's processors run. */
export async function isRunning(qmp: QmpClient, signal?: AbortSignal): Promise<boolean> {
  return (await qmp.execute('query-status', {}, STATUS, signal)).running;
}
