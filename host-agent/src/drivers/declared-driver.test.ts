import { describe, expect, it } from 'vitest';
import { DRIVER_CAPABILITIES, DRIVER_NAMES, NO_CAPABILITIES } from '../domain/driver-capabilities.js';
import { DECLARED_DRIVERS } from './declared-driver.js';

describe.each(DECLARED_DRIVERS.map((driver) => [driver.name, driver] as const))(
  'The declared driver %s',
  (name, driver) => {
    it('is there by name, not available, and can do nothing', async () => {
      expect(DRIVER_NAMES).toContain(name);
      const status = await driver.probe();
      expect(status).toMatchObject({ name, available: false, capabilities: NO_CAPABILITIES });
      expect(status.unavailableReason).not.toBe('');
      expect(driver.diskFormats).toEqual(['raw']);
    });

    it.each(['launch', 'restore', 'assertLoadable', 'adopt'] as const)('refuses to %s, by its name', async (call) => {
      const refused = (driver[call] as () => Promise<unknown>)();
      await expect(refused).rejects.toMatchObject({
        kind: 'Unsupported',
        reason: 'DRIVER_UNAVAILABLE',
        metadata: { driver: name },
        message: expect.stringContaining(name) as string,
      });
    });
  },
);

describe('The table of capabilities', () => {
  it('promises nothing of drivers that are only declared and never will be here', () => {
    for (const name of ['vz', 'libkrun'] as const) expect(DRIVER_CAPABILITIES[name]).toEqual(NO_CAPABILITIES);
  });
});
