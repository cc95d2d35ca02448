import { GetInstanceRequest } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import type { DaemonClient } from '../cli/daemon-client.js';
import { quantile } from './statistics.js';

const WARM_UP_CALLS = 200;
const LONE_CALLS = 500;
const RATE_CALLS = 4000;
/** Calls under way at a time while the rate is measured. */
const IN_FLIGHT = 64;

export interface CallRate {
  /** One call at a time, in milliseconds. */
  readonly p50: number;
  readonly p99: number;
  readonly perSecond: number;
}

/** How fast `GetInstance` is answered: one call at a time, then many at once. Client and daemon share the machine. */
export async function measureCallRate(client: DaemonClient, instance: string): Promise<CallRate> {
  const { instances } = client;
  const request = GetInstanceRequest.fromPartial({ instance });
  const method = instances.getInstance.bind(instances);
  for (let i = 0; i < WARM_UP_CALLS; i++) await client.unary(method, request);
  const times: number[] = [];
  for (let i = 0; i < LONE_CALLS; i++) {
    const started = performance.now();
    await client.unary(method, request);
    times.push(performance.now() - started);
  }
  let left = RATE_CALLS;
  const started = performance.now();
  const caller = async (): Promise<void> => {
    while (left-- > 0) await client.unary(method, request);
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, caller));
  const perSecond = Math.round((RATE_CALLS / (performance.now() - started)) * 1000);
  return { p50: quantile(times, 0.5), p99: quantile(times, 0.99), perSecond };
}
