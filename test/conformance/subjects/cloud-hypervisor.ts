import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { CloudHypervisorDriver } from '../../../host-agent/src/drivers/cloud-hypervisor/cloud-hypervisor-driver.js';
import type { Subject } from '../subject.js';

const BINARY = process.env.OFFSHOOT_CLOUD_HYPERVISOR ?? 'cloud-hypervisor';

const driver = (scratchDirectory: string, binary = BINARY): CloudHypervisorDriver =>
  new CloudHypervisorDriver({ binary, logger: pino({ level: 'silent' }), scratchDirectory });

export const CLOUD_HYPERVISOR: Subject = {
  name: 'Cloud Hypervisor',
  missing: async () => {
    const scratch = await mkdtemp(join(tmpdir(), 'probe-'));
    try {
      const { unavailableReason, capabilityReason = '' } = await driver(scratch).probe();
      return unavailableReason || capabilityReason;
    } finally {
      await rm(scratch, { recursive: true });
    }
  },
  driver: ({ scratch, binary }) => driver(scratch, binary),
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
  traits: { coldMemory: 'in its file', replacesCold: false, reset: { code: 0, cause: 'reset' } },
};
