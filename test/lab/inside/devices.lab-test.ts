import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { pino } from 'pino';
import { QemuDriver } from '../../../host-agent/src/drivers/qemu/qemu-driver.js';
import { openTap } from '../../../host-agent/src/os/tun.js';

describe('the lab host', () => {
  it.each(['/dev/kvm', '/dev/vhost-vsock'])('has a real %s', (device) => {
    closeSync(openSync(device, constants.O_RDWR));
  });

  it('has nested virtualization on processors that can be captured', () => {
    expect(readFileSync('/sys/module/kvm_amd/parameters/nested', 'latin1').trim()).toMatch(/^[1Y]$/);
    expect(readFileSync('/proc/cpuinfo', 'latin1')).toMatch(/^flags.* svm .*npt/m);
  });

  it('has TAPs and nftables', () => {
    const name = 'lab-tap';
    const descriptor = openTap(name);
    try {
      const links = JSON.parse(execFileSync('ip', ['-j', 'link'], { encoding: 'utf8' })) as { ifname: string }[];
      expect(links.map(({ ifname }) => ifname)).toContain(name);
    } finally {
      closeSync(descriptor);
    }
    execFileSync('nft', [
      'add table inet lab { chain c { type filter hook forward priority 0; }; }; delete table inet lab',
    ]);
  });

  it('runs code under KVM, as the probe of the QEMU driver finds', async () => {
    const scratchDirectory = mkdtempSync(join(tmpdir(), 'kvm-'));
    try {
      const driver = new QemuDriver({ accelerator: 'auto', logger: pino({ level: 'silent' }), scratchDirectory });
      expect(await driver.probe()).toMatchObject({ available: true, accelerator: 'kvm', acceleratorReason: '' });
    } finally {
      rmSync(scratchDirectory, { recursive: true });
    }
  });
});
