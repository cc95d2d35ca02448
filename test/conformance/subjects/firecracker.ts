import { open } from 'node:fs/promises';
import { pino } from 'pino';
import { FirecrackerDriver } from '../../../host-agent/src/drivers/firecracker/firecracker-driver.js';
import type { Subject } from '../subject.js';

const BINARY = process.env.OFFSHOOT_FIRECRACKER ?? 'firecracker';

const driver = (binary = BINARY): FirecrackerDriver =>
  new FirecrackerDriver({ binary, logger: pino({ level: 'silent' }) });

export const FIRECRACKER: Subject = {
  name: 'Firecracker',
  missing: async () => (await driver().probe()).unavailableReason,
  driver: ({ binary }) => driver(binary),
  binary: BINARY,
  probeArguments: ['--version'],
  disk: {
    format: 'raw',
    create: async (path) => {
      await using file = await open(path, 'wx');
      await file.truncate(64 * 1024 * 1024);
    },
  },
  nic: { kind: 'none' },
  traits: { coldMemory: "the VMM's own", replacesCold: false, reset: { code: 0, cause: 'reset' } },
};
