import { InvalidInput } from '@offshoot/shared/errors.js';
import { describe, expect, it } from 'vitest';
import { jailSettings } from './jail-settings.js';
import { loadSettings } from './load-settings.js';

const ROOT = 0;

describe('the settings of the jail', () => {
  const load = (flags: Record<string, string>, daemonUid = ROOT) =>
    jailSettings(loadSettings({ environment: {}, flags }).settings, daemonUid);
  const violationsOf = (flags: Record<string, string>, daemonUid = ROOT): Record<string, string> => {
    try {
      load(flags, daemonUid);
    } catch (error) {
      expect(error).toBeInstanceOf(InvalidInput);
      expect(error).toMatchObject({ reason: 'CONFIGURATION_INVALID' });
      return Object.fromEntries(
        (error as InvalidInput).violations.map(({ field, description }) => [field, description]),
      );
    }
    return {};
  };
  const JAIL = { 'firecracker.jailer': 'jailer', 'firecracker.jailer_uid': '7', 'firecracker.jailer_gid': '8' };

  it('jail nothing where nothing is said', () => {
    expect(load({})).toBeUndefined();
    expect(load({}, 1000)).toBeUndefined();
  });

  it('name the jailer and its user', () => {
    expect(load(JAIL)).toEqual({ jailer: 'jailer', uid: 7, gid: 8 });
  });

  it.each(['0', '-1', '1.5', '4294967295', 'nobody'])('refuse the user %s', (uid) => {
    expect(violationsOf({ ...JAIL, 'firecracker.jailer_uid': uid })).toEqual({
      'firecracker.jailer_uid': `must be a number from 1 to 4294967294, got "${uid}" from --firecracker-jailer-uid`,
    });
    expect(violationsOf({ ...JAIL, 'firecracker.jailer_gid': uid })).toHaveProperty(['firecracker.jailer_gid']);
  });

  it('want user and group where there is a jailer, and only there', () => {
    expect(violationsOf({ 'firecracker.jailer': 'jailer' })).toEqual({
      'firecracker.jailer_uid': expect.stringContaining('must be set') as string,
      'firecracker.jailer_gid': expect.stringContaining('must be set') as string,
    });
    expect(violationsOf({ 'firecracker.jailer_uid': '7' })).toEqual({
      'firecracker.jailer_uid': expect.stringContaining('no effect without firecracker.jailer') as string,
    });
  });

  it('are refused to a daemon that is not root', () => {
    expect(violationsOf(JAIL, 1000)).toEqual({
      'firecracker.jailer': expect.stringMatching(/runs as root, this one runs as user 1000/) as string,
    });
  });
});
