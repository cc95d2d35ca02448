import { GetHostRequest, GetHostResponse, type Driver } from '@offshoot/proto/generated/offshoot/v1/host_service.js';
import { READ_DEADLINE_MS } from '../command-context.js';
import { formatBytes } from '../format-values.js';
import { protoJson } from '../proto-json.js';
import { facts, table } from '../tables.js';
import type { Define } from './define.js';

export const defineHost: Define = (program, run) => {
  program
    .command('host')
    .description("show the daemon's host: drivers, network, capacity and usage")
    .action(() =>
      run(async (context) => {
        const { host } = context.client;
        const response = await context.client.unary<GetHostRequest, GetHostResponse>(
          host.getHost.bind(host),
          {},
          READ_DEADLINE_MS,
        );
        await context.print({
          json: () => protoJson('GetHostResponse', GetHostResponse, response),
          text: () => describe(response),
        });
      }),
    );
};

function describe({ hostname, version, drivers, network, capacity, usage }: GetHostResponse): string {
  const general = facts([
    ['Host', hostname],
    ['Daemon', version],
    ['Network', network === undefined ? '' : withReason(`${network.mode} ${network.subnet}`, network.modeReason)],
    ['Ack port', String(network?.ackPort ?? '')],
    ['Instances', `${String(usage?.instances ?? 0)}, ${String(usage?.runningInstances ?? 0)} running`],
    ['Addresses', `${String(usage?.addresses ?? 0)} of ${String(capacity?.addresses ?? 0)}`],
    ['CPUs', String(capacity?.vcpus ?? '')],
    ['Memory', `${formatBytes(capacity?.memoryBytes ?? 0n)}, guests ${formatBytes(usage?.guestMemoryBytes ?? 0n)}`],
    ['Disk free', formatBytes(capacity?.diskFreeBytes ?? 0n)],
  ]);
  return `${general}\n\n${table(['DRIVER', 'VERSION', 'ACCELERATOR', 'CAN'], drivers.map(describeDriver))}`;
}

function describeDriver(driver: Driver): string[] {
  const { capabilities } = driver;
  const can = Object.entries(capabilities ?? {}).flatMap(([name, has]) => (has === true ? [name] : []));
  return [
    driver.name,
    driver.version,
    withReason(driver.accelerator, driver.acceleratorReason),
    driver.available ? withReason(can.join(' '), driver.capabilityReason) : `unavailable: ${driver.unavailableReason}`,
  ];
}

const withReason = (what: string, reason: string): string => (reason === '' ? what : `${what} (${reason})`);
