import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { pino } from 'pino';
import { QemuDriver } from '../../../host-agent/src/drivers/qemu/qemu-driver.js';
import type { Subject } from '../subject.js';

const run = promisify(execFile);

const qemuOn = (accelerator: 'tcg' | 'kvm'): Subject => ({
  name: `QEMU on ${accelerator.toUpperCase()}`,
  missing: async () => {
    try {
      await run('qemu-img', ['--version']);
    } catch {
      return 'no qemu-img';
    }
    const scratch = await mkdtemp(join(tmpdir(), 'probe-'));
    try {
      return (await driver(accelerator, scratch).probe()).unavailableReason;
    } finally {
      await rm(scratch, { recursive: true });
    }
  },
  driver: ({ scratch, binary }) => driver(accelerator, scratch, binary),
  binary: 'qemu-system-x86_64',
  probeArguments: ['-machine none', 'isa-debug-exit'],
  disk: {
    format: 'qcow2',
    create: async (path) => {
      await run('qemu-img', ['create', '-q', '-f', 'qcow2', path, '64M']);
    },
  },
  nic: { kind: 'user', subnet: '10.7.0.0/24', gateway: '10.7.0.1' },
  traits: { coldMemory: 'in its file', replacesCold: true, reset: { code: 0, cause: 'reset' } },
});

const driver = (accelerator: 'tcg' | 'kvm', scratchDirectory: string, binary?: string): QemuDriver =>
  new QemuDriver({
    accelerator,
    logger: pino({ level: 'silent' }),
    scratchDirectory,
    ...(binary === undefined ? {} : { binary }),
  });

export const QEMU_TCG = qemuOn('tcg');
export const QEMU_KVM = qemuOn('kvm');
