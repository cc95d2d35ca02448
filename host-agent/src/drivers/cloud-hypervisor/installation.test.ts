import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { pino } from 'pino';
import { CloudHypervisorDriver } from './cloud-hypervisor-driver.js';
import { inspectInstallation } from './installation.js';

describe('the Cloud Hypervisor that is installed', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'ch-'));
  });
  afterEach(() => {
    rmSync(directory, { recursive: true });
  });
  const program = (says: string): string => {
    const path = join(directory, 'cloud-hypervisor');
    writeFileSync(path, `#!/bin/sh\necho '${says}'\n`);
    chmodSync(path, 0o755);
    return path;
  };

  it.each(['cloud-hypervisor v51.1', 'cloud-hypervisor 9.0', 'cloud-hypervisor v51.9-3-gabc-dirty'])(
    'is refused when it is too old, naming both versions: %s',
    async (says) => {
      const [, version = ''] = says.split(/ v?/);
      await expect(inspectInstallation(program(says), '/dev/null')).rejects.toMatchObject({
        reason: 'HYPERVISOR_TOO_OLD',
        message: expect.stringContaining(`is version ${version}, needed is 52 or later`) as string,
        version,
      });
    },
  );

  it.each(['', 'cloud-hypervisor unknown', 'Firecracker v1.17.0'])(
    'is refused when it is something else: "%s"',
    async (says) => {
      await expect(inspectInstallation(program(says), '/dev/null')).rejects.toMatchObject({
        reason: 'HYPERVISOR_UNUSABLE',
      });
    },
  );

  it('is refused without the device it runs on', async () => {
    const kvm = join(directory, 'kvm');
    await expect(inspectInstallation(program('cloud-hypervisor v54.0'), kvm)).rejects.toMatchObject({
      reason: 'KVM_UNAVAILABLE',
      message: expect.stringContaining(kvm) as string,
      version: '54.0',
    });
    expect(await inspectInstallation(program('cloud-hypervisor v52.0-3-gabc'), '/dev/null')).toMatchObject({
      version: '52.0-3-gabc',
    });
  });

  it('is missed by its name, and the driver says so instead of failing', async () => {
    const driver = new CloudHypervisorDriver({
      binary: join(directory, 'absent'),
      logger: pino({ level: 'silent' }),
      scratchDirectory: directory,
    });
    const status = await driver.probe();
    expect(status).toMatchObject({ name: 'cloud-hypervisor', available: false, version: '' });
    expect(status.unavailableReason).toContain('no cloud-hypervisor binary');
    expect(Object.values(status.capabilities).some(Boolean)).toBe(false);
    await expect(driver.launch({} as never)).rejects.toMatchObject({ reason: 'DRIVER_UNAVAILABLE' });
  });
});
