import type { HostServiceServer } from '@offshoot/proto/generated/offshoot/v1/host_service.js';
import type { HostOperations } from '../app/commands.js';
import type { CallRunner } from './call-runner.js';
import { toHostMessage } from './host-message.js';

/** offshoot.v1.HostService. */
export const hostService = (host: HostOperations, run: CallRunner): HostServiceServer => ({
  getHost: run.unary('reads', async (_request, signal) => toHostMessage(await host.describe(signal))),
});
