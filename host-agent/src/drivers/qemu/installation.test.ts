import { describe, expect, it } from 'vitest';
import { newestQ35 } from './installation.js';

describe('the machine type', () => {
  it('is the newest versioned q35, by number', () => {
    const names = ['q35', 'pc-q35-9.2', 'pc-q35-10.0', 'pc-q35-4.0.1', 'pc-q35-4.0', 'pc-i440fx-10.1', 'none'];
    expect(newestQ35(names)).toBe('pc-q35-10.0');
    expect(newestQ35(['pc-q35-4.0.1', 'pc-q35-4.0'])).toBe('pc-q35-4.0.1');
  });

  it('is none where there is no q35', () => {
    expect(newestQ35(['q35', 'microvm'])).toBeUndefined();
  });
});
