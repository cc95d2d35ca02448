import { cpus, loadavg, release, totalmem } from 'node:os';
import { GetHostRequest } from '@offshoot/proto/generated/offshoot/v1/host_service.js';
import type { DaemonClient } from '../cli/daemon-client.js';

/** What the figures belong to. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryMib: number;
  readonly kernel: string;
  readonly node: string;
  readonly driver: string;
  readonly driverVersion: string;
  readonly accelerator: string;
  /** Why not a faster one; empty when there is none. */
  readonly acceleratorReason: string;
  readonly networkMode: string;
}

/** @throws when the daemon has no usable driver */
export async function describeMachine(client: DaemonClient): Promise<Machine> {
  const { host } = client;
  const { drivers, network } = await client.unary(host.getHost.bind(host), GetHostRequest.fromPartial({}));
  const [driver] = drivers;
  if (driver?.available !== true) throw new Error(driver?.unavailableReason ?? 'no driver');
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryMib: Math.round(totalmem() / 2 ** 20),
    kernel: release(),
    node: process.version,
    driver: driver.name,
    driverVersion: driver.version,
    accelerator: driver.accelerator,
    acceleratorReason: driver.acceleratorReason,
    networkMode: network?.mode ?? '',
  };
}

/** Load average of the last minute. */
export const loadAverage = (): number => Math.round((loadavg()[0] ?? 0) * 100) / 100;
