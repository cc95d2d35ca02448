import { open } from 'node:fs/promises';
import { pino } from 'pino';
import { FirecrackerDriver, type JailOptions } from '../../../host-agent/src/drivers/firecracker/firecracker-driver.js';
import { findProgram } from '../../../host-agent/src/os/program-path.js';
import type { Subject } from '../subject.js';

const BINARY = process.env.OFFSHOOT_FIRECRACKER ?? 'firecracker';

const JAILER = process.env.OFFSHOOT_JAILER ?? 'jailer';

/** Whose numbers no account of a distribution has. */
export const JAIL_USER = { uid: 64_213, gid: 64_214 } as const;

const driver = (options: { readonly binary?: string; readonly jail?: JailOptions }): FirecrackerDriver =>
  new FirecrackerDriver({ binary: BINARY, logger: pino({ level: 'silent' }), ...options });

const jailedBy = (jailer: string): FirecrackerDriver => driver({ jail: { jailer, ...JAIL_USER } });

export const FIRECRACKER: Subject = {
  name: 'Firecracker',
  missing: async () => (await driver({}).probe()).unavailableReason,
  driver: ({ binary }) => driver(binary === undefined ? {} : { binary }),
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

/** The same, with every VMM under the jailer; where the suite wants another hypervisor, it gets another jailer. */
export const FIRECRACKER_JAILED: Subject = {
  ...FIRECRACKER,
  name: 'Firecracker in a jail',
  missing: async () => {
    if ((await findProgram(JAILER)) === undefined) return 'no jailer binary';
    if (process.getuid?.() !== 0) return 'root';
    return (await jailedBy(JAILER).probe()).unavailableReason;
  },
  driver: ({ binary }) => jailedBy(binary ?? JAILER),
  binary: JAILER,
};
