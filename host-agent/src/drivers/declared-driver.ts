import { Unsupported } from '@offshoot/shared/errors.js';
import { NO_CAPABILITIES, type DriverName } from '../domain/driver-capabilities.js';
import type { DriverStatus, HypervisorDriver } from '../ports/driver.js';

/** A driver that has a name and a place, and is not built: every call says so. */
export class DeclaredDriver implements HypervisorDriver {
  readonly diskFormats = ['raw'] as const;
  readonly tapKind = 'tap';

  constructor(
    readonly name: DriverName,
    private readonly reason: string,
  ) {}

  probe(): Promise<DriverStatus> {
    return Promise.resolve({
      name: this.name,
      available: false,
      unavailableReason: this.reason,
      version: '',
      accelerator: '',
      acceleratorReason: '',
      capabilities: NO_CAPABILITIES,
    });
  }

  launch(): Promise<never> {
    return this.refuse();
  }

  restore(): Promise<never> {
    return this.refuse();
  }

  assertLoadable(): Promise<never> {
    return this.refuse();
  }

  adopt(): Promise<never> {
    return this.refuse();
  }

  private refuse(): Promise<never> {
    return Promise.reject(
      new Unsupported(`driver ${this.name} is not available: ${this.reason}`, {
        reason: 'DRIVER_UNAVAILABLE',
        metadata: { driver: this.name },
      }),
    );
  }
}

/** Drivers with a name, a row in the table of capabilities, and nothing behind it yet. */
export const DECLARED_DRIVERS: readonly HypervisorDriver[] = [
  new DeclaredDriver('vz', 'it is not built yet, and Virtualization.framework is on macOS only'),
  new DeclaredDriver('libkrun', 'it is not built yet'),
];
