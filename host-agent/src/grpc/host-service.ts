import {
  CheckOutcome,
  type DoctorRequest,
  type DoctorResponse,
  type HostServiceServer,
} from '@offshoot/proto/generated/offshoot/v1/host_service.js';
import type { HostOperations } from '../app/commands.js';
import type { CallRunner } from './call-runner.js';
import { toHostMessage } from './host-message.js';

const OUTCOMES = {
  pass: CheckOutcome.CHECK_OUTCOME_PASS,
  warn: CheckOutcome.CHECK_OUTCOME_WARN,
  fail: CheckOutcome.CHECK_OUTCOME_FAIL,
} as const;

/** offshoot.v1.HostService. */
export function hostService(host: HostOperations, run: CallRunner): HostServiceServer {
  async function* doctor({ fix }: DoctorRequest, signal: AbortSignal): AsyncGenerator<DoctorResponse> {
    for await (const { outcome, ...check } of host.examine({ fix }, signal))
      yield { check: { ...check, outcome: OUTCOMES[outcome] } };
  }
  return {
    getHost: run.unary('reads', async (_request, signal) => toHostMessage(await host.describe(signal))),
    doctor: run.stream('reads', doctor),
  };
}
