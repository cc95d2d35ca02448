import { describe, expect, it } from 'vitest';
import type { LaunchSpec, RestoreSpec } from '../../../ports/driver.js';
import { asBootedInJail, asLoadedInJail, contentsToBoot, contentsToLoad, jailPaths } from './jail-contents.js';

const DIRECTORY = '/state/instances/01hx';
const spec: LaunchSpec = {
  directory: DIRECTORY,
  runDirectory: `${DIRECTORY}/run`,
  logDirectory: `${DIRECTORY}/logs`,
  vcpus: 1,
  memoryBytes: 2 ** 27,
  memoryFile: `${DIRECTORY}/memory`,
  disk: { path: `${DIRECTORY}/disk.raw`, format: 'raw' },
  nic: { mac: '52:54:00:00:00:01', backend: { kind: 'none' } },
  kernel: { vmlinuz: '/images/ab/vmlinuz', vmlinux: '/images/ab/vmlinux', commandLine: 'a=b' },
};
const load: RestoreSpec = {
  ...spec,
  memoryFile: '/state/snapshots/s/memory',
  stateFile: '/state/snapshots/s/device-state',
  capture: {} as RestoreSpec['capture'],
};
const OF_ANY = {
  run: `${DIRECTORY}/run`,
  captures: `${DIRECTORY}/jail/captures`,
  'logs/console.log': `${DIRECTORY}/logs/console.log`,
  'disk.raw': `${DIRECTORY}/disk.raw`,
};

describe('what a jail has', () => {
  const sources = (contents: ReturnType<typeof contentsToBoot>) =>
    Object.fromEntries(contents.map(({ name, source }) => [name, source]));
  const onlyRead = (contents: ReturnType<typeof contentsToBoot>) =>
    contents.filter(({ access }) => access === 'read').map(({ name }) => name);

  it('is the own files under their own names, and the kernel, to boot', () => {
    expect(sources(contentsToBoot(spec))).toEqual({ ...OF_ANY, kernel: '/images/ab/vmlinux' });
    const withInitrd = { ...spec, kernel: { ...spec.kernel, initrd: '/images/ab/initrd' } };
    expect(sources(contentsToBoot(withInitrd))).toMatchObject({ initrd: '/images/ab/initrd' });
    expect(onlyRead(contentsToBoot(withInitrd))).toEqual(['kernel', 'initrd']);
    expect(asBootedInJail(withInitrd).kernel).toEqual({ ...spec.kernel, vmlinux: 'kernel', initrd: 'initrd' });
    expect(asBootedInJail(spec).kernel).not.toHaveProperty('initrd');
  });

  it('is the capture besides them, to load it, which is only read', () => {
    const contents = contentsToLoad(load);
    expect(sources(contents)).toEqual({ ...OF_ANY, 'device-state': load.stateFile, memory: load.memoryFile });
    expect(onlyRead(contents)).toEqual(['device-state', 'memory']);
    expect(asLoadedInJail(load)).toEqual({ ...load, stateFile: 'device-state', memoryFile: 'memory' });
  });

  it('is made in a folder of its own', () => {
    for (const path of Object.values(jailPaths(spec))) expect(path).toMatch(/^\/state\/instances\/01hx\/jail/);
  });
});
