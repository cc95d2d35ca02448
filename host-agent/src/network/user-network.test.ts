import { tmpdir } from 'node:os';
import { InvalidInput } from '@offshoot/shared/errors.js';
import pino from 'pino';
import { describe, expect, it } from 'vitest';
import { openNetwork } from './open-network.js';

const options = { mode: 'user', stateDirectory: tmpdir(), logger: pino({ level: 'silent' }) } as const;

describe('The network in user mode', () => {
  it('has acks come to the loopback, under another address than the guest has', async () => {
    const network = await openNetwork({ ...options, subnet: '10.213.0.0/20' });
    expect(network.status).toEqual({
      mode: 'user',
      modeReason: '',
      subnet: '10.213.0.0/20',
      gateway: '10.213.0.1',
      bridge: '',
      capacity: 4000,
      ackBindAddress: '127.0.0.1',
      sourceAddressIsGuest: false,
    });
    await network.openAckPort(4711);
    await network.close({ inUse: false });
  });

  it("plugs an instance into its hypervisor's own stack with the subnet and gateway of its identity", async () => {
    const network = await openNetwork({ ...options, subnet: '192.168.7.0/24' });
    const identity = network.identityOf(0);
    expect(identity).toMatchObject({ ipv4: '192.168.7.5', gateway: '192.168.7.1', prefixLength: 24 });
    expect(identity).not.toHaveProperty('tap');
    using nic = network.attach(identity, 'tap');
    expect(nic.backend).toEqual({ kind: 'user', subnet: '192.168.7.0/24', gateway: '192.168.7.1' });
    nic.close();
  });

  it('is not opened for a malformed subnet', async () => {
    await expect(openNetwork({ ...options, subnet: '10.213.0.1/20' })).rejects.toThrow(InvalidInput);
  });
});
