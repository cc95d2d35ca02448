import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InvalidInput } from '@offshoot/shared/errors.js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadSettings, type SettingInputs } from './load-settings.js';

describe('settings', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'offshoot-config-'));
  });
  afterEach(() => {
    rmSync(directory, { recursive: true });
  });

  const file = (content: string): string => {
    const path = join(directory, `${randomUUID()}.yaml`);
    writeFileSync(path, content);
    return path;
  };
  const load = (inputs: Partial<SettingInputs>) =>
    loadSettings({ file: file(''), environment: {}, flags: {}, ...inputs });
  const violationsOf = (inputs: Partial<SettingInputs>) => {
    try {
      load(inputs);
    } catch (error) {
      expect(error).toBeInstanceOf(InvalidInput);
      return (error as InvalidInput).violations;
    }
    return [];
  };

  it('take their defaults where nothing is said', () => {
    const { settings, sources } = load({});
    expect(settings['network.mode']).toBe('auto');
    expect(settings['limits.boot_seconds']).toBe(120);
    expect(sources['network.mode']).toBe('default');
  });

  it('come from flags before the environment before the file', () => {
    const inputs = {
      file: file('state_dir: /from/file\nnetwork:\n  mode: user\nqemu: {binary: /file/qemu}\n'),
      environment: { OFFSHOOT_NETWORK_MODE: 'tap', OFFSHOOT_QEMU_BINARY: '/environment/qemu' },
      flags: { 'qemu.binary': '/flag/qemu' },
    };
    const { settings, sources } = load(inputs);
    expect(settings).toMatchObject({ state_dir: '/from/file', 'network.mode': 'tap', 'qemu.binary': '/flag/qemu' });
    expect(sources).toMatchObject({
      state_dir: inputs.file,
      'network.mode': 'OFFSHOOT_NETWORK_MODE',
      'qemu.binary': '--qemu-binary',
    });
  });

  it('are read from JSON as well', () => {
    expect(load({ file: file('{"limits": {"instances": 7}}') }).settings['limits.instances']).toBe(7);
  });

  it('name key, value, source and expectation of everything that is wrong at once', () => {
    const violations = violationsOf({
      file: file('limits:\n  instances: many\n'),
      environment: { OFFSHOOT_NETWORK_MODE: 'bridge' },
      flags: { state_dir: 'relative' },
    });
    expect(violations.map(({ field }) => field).sort()).toEqual(['limits.instances', 'network.mode', 'state_dir']);
    const text = violations.map(({ description }) => description).join('\n');
    expect(text).toContain('must be one of auto, tap, user, got "bridge" from OFFSHOOT_NETWORK_MODE');
    expect(text).toContain('must be an absolute path, got "relative" from --state-dir');
    expect(text).toContain('must be a whole number from 1 to 4000, got "many" from');
  });

  it('refuse a key that does not exist, naming those that do', () => {
    const [violation] = violationsOf({ file: file('network:\n  modus: tap\n') });
    expect(violation?.field).toBe('network.modus');
    expect(violation?.description).toContain('network.mode');
  });

  it('refuse a file that is named and not there, or not YAML', () => {
    expect(() => load({ file: join(directory, 'none.yaml') })).toThrow(/cannot be read: ENOENT/);
    expect(() => load({ file: file('a: [') })).toThrow(/neither YAML nor JSON/);
  });
});
