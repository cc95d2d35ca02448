import { describe, expect, it } from 'vitest';
import { applyIdentity } from './identity-steps.js';
import { RecordedParts } from './recorded-parts.js';

const network = { mac: '02:00:00:00:00:0a', ipv4: '10.1.2.3', prefixLength: 24, gateway: '10.1.2.1' };
const whole = {
  ...network,
  hostname: 'fork-1',
  machineId: 'ab'.repeat(16),
  entropy: Buffer.alloc(64),
  hostTimeMs: 9000.5,
};

describe('putting an identity into force', () => {
  it('takes its steps in order, the network first and the generation last', () => {
    const parts = new RecordedParts();
    parts.hasHostKeys = true;
    expect(applyIdentity(parts, whole, () => 250)).toEqual({ clockStepMs: 4250.5, hostKeysRemoved: true });
    expect(parts.calls).toEqual([
      'network 10.1.2.3',
      'clock 9250.5',
      'entropy 64',
      'hostname fork-1',
      'machine-id 32',
      'host-keys removed',
      'generation 1',
    ]);
  });

  it('leaves alone what it does not name', () => {
    const parts = new RecordedParts();
    expect(applyIdentity(parts, network, () => 250)).toEqual({ clockStepMs: undefined, hostKeysRemoved: false });
    expect(parts.calls).toEqual(['network 10.1.2.3', 'generation 1']);
  });

  it.each(['network', 'clock', 'entropy', 'hostname', 'machine-id'])(
    'ends where the %s fails, and counts no generation',
    (step) => {
      const parts = new RecordedParts();
      parts.failures.set(step, new Error('EPERM'));
      expect(() => applyIdentity(parts, whole, () => 0)).toThrow('EPERM');
      expect(parts.calls).not.toContain('generation 1');
    },
  );
});
