import { readFileSync } from 'node:fs';

/** Names of all network devices. Not by sysfs, which shows those of whoever mounted it. */
export const networkDevices = (): string[] =>
  readFileSync('/proc/net/dev', 'latin1')
    .split('\n')
    .flatMap((line) => /^\s*([^:\s]+):/.exec(line)?.[1] ?? []);
