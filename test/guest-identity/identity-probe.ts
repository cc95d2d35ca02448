import { readFileSync } from 'node:fs';
import type { Instance } from '@offshoot/proto/generated/offshoot/v1/instance.js';
import type { ForkInstanceResponse } from '@offshoot/proto/generated/offshoot/v1/instance_service.js';
import type { TestHost } from '../harness/test-host.js';

/** What identity-probe.cjs acknowledges with. */
export interface Probe {
  readonly random: string;
  readonly uuid: string;
  readonly files: { readonly hostname: string; readonly machineId: string; readonly hosts: string };
  readonly ipv6: number;
  readonly generation: string;
  readonly identity: Readonly<Record<'hostname' | 'machineId' | 'mac' | 'ipv4' | 'gateway', string>> & {
    readonly generation: number;
  };
}

const program = readFileSync(new URL('identity-probe.cjs', import.meta.url));

export const probeOf = ({ acks }: ForkInstanceResponse): Probe => JSON.parse(acks[0]!.detail) as Probe;

/** Boots "source" with the probe in one of its modes, and waits for a line that begins so. */
export async function bootProbe(host: TestHost, mode: readonly string[], firstLine: string): Promise<Instance> {
  const path = '/srv/identity-probe.cjs';
  const workload = {
    argv: ['node', path, ...mode],
    env: {},
    workingDirectory: '',
    files: [{ path, mode: 0o644, content: program }],
  };
  const { instance } = await host.create({ name: 'source', workload });
  await host.logLine('source', (line) => line.startsWith(firstLine));
  return instance!;
}
