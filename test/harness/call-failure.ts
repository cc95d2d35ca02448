import { status, type ServiceError } from '@grpc/grpc-js';
import { decodeStatusDetails, type StatusDetails } from '@offshoot/host-agent/grpc/contract/status-details.js';
import { expect } from 'vitest';

/** What a caller learns of a call that failed. */
export interface CallFailure {
  readonly status: keyof typeof status;
  readonly message: string;
  readonly details: StatusDetails;
}

/** The failure of a call that may fail; undefined when it did not. */
export async function failureIfAny(call: Promise<unknown>): Promise<CallFailure | undefined> {
  const error = await call.then(
    () => undefined,
    (reason: unknown) => reason as ServiceError,
  );
  if (error === undefined) return undefined;
  const name = Object.entries(status).find(([, code]) => code === error.code)?.[0] as keyof typeof status;
  return { status: name, message: error.details, details: decodeStatusDetails(error.metadata)! };
}

/** The failure of a call that must fail. */
export async function failureOf(call: Promise<unknown>): Promise<CallFailure> {
  return (await failureIfAny(call)) ?? expect.fail('the call succeeded');
}
