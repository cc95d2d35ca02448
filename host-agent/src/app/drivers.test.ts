import { describe, expect, it } from 'vitest';
import { DRIVER_CAPABILITIES, NO_CAPABILITIES, type DriverName } from '../domain/driver-capabilities.js';
import type { NetworkMode } from '../domain/network-identity.js';
import type { DriverStatus, HypervisorDriver } from '../ports/driver.js';
import type { Dependencies } from './dependencies.js';
import { assertCapability, usableDriver } from './drivers.js';

const { signal } = new AbortController();

function contextWith(
  mode: NetworkMode,
  ...statuses: (Partial<DriverStatus> & { readonly name: DriverName })[]
): Pick<Dependencies, 'drivers' | 'defaultDriver' | 'network'> {
  const drivers = statuses.map((status) => ({
    name: status.name,
    probe: () => Promise.resolve({ available: true, capabilities: DRIVER_CAPABILITIES[status.name], ...status }),
  }));
  return {
    drivers: new Map(drivers.map((driver) => [driver.name, driver as unknown as HypervisorDriver])),
    defaultDriver: 'qemu',
    network: { status: { mode } } as Dependencies['network'],
  };
}

describe('a driver that is asked for', () => {
  it('is the default one when none is named', async () => {
    const context = contextWith('user', { name: 'qemu' });
    expect((await usableDriver(context, undefined, signal)).name).toBe('qemu');
  });

  it('is refused when there is none of that name, with those there are', async () => {
    const context = contextWith('tap', { name: 'qemu' }, { name: 'vz' });
    await expect(usableDriver(context, 'xen', signal)).rejects.toMatchObject({
      kind: 'InvalidInput',
      reason: 'DRIVER_UNKNOWN',
      message: 'driver: must be one of qemu, vz, got "xen"',
    });
  });

  it('is refused where it is not available, with why', async () => {
    const context = contextWith('tap', { name: 'vz', available: false, unavailableReason: 'no macOS' });
    await expect(usableDriver(context, 'vz', signal)).rejects.toMatchObject({
      reason: 'DRIVER_UNAVAILABLE',
      message: 'driver vz is not available on this host: no macOS',
    });
  });

  it.each(['firecracker', 'cloud-hypervisor'] as const)('is refused for want of a network: %s', async (name) => {
    const refusal = {
      kind: 'Unsupported',
      reason: 'CAPABILITY_MISSING',
      metadata: { driver: name, capability: 'userNetwork' },
    };
    await expect(usableDriver(contextWith('user', { name }), name, signal)).rejects.toMatchObject(refusal);
    expect((await usableDriver(contextWith('tap', { name }), name, signal)).name).toBe(name);
  });
});

describe('a capability that is needed', () => {
  it('is had by drivers that have it', async () => {
    await assertCapability(contextWith('tap', { name: 'firecracker' }), 'firecracker', 'fork', signal);
  });

  it('is refused by name where the driver lacks it', async () => {
    const needed = assertCapability(contextWith('tap', { name: 'firecracker' }), 'firecracker', 'diskLayers', signal);
    await expect(needed).rejects.toThrow('driver firecracker cannot do this, it lacks the capability diskLayers');
  });

  it('is refused with why where only this host lacks it', async () => {
    const status = {
      name: 'cloud-hypervisor',
      capabilities: NO_CAPABILITIES,
      capabilityReason: 'no nested state',
    } as const;
    await expect(
      assertCapability(contextWith('tap', status), 'cloud-hypervisor', 'snapshot', signal),
    ).rejects.toMatchObject({
      reason: 'CAPABILITY_MISSING',
      message: 'driver cloud-hypervisor cannot do this, it lacks the capability snapshot here: no nested state',
    });
  });

  it('is taken from the table for a driver that is not there: its absence is told elsewhere', async () => {
    const gone = { name: 'firecracker', available: false, capabilities: NO_CAPABILITIES } as const;
    await assertCapability(contextWith('tap', gone), 'firecracker', 'fork', signal);
  });
});
