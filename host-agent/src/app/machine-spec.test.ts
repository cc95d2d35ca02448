import { describe, expect, it } from 'vitest';
import type { Instance } from '../domain/instance.js';
import type { StorageName } from '../domain/storage-name.js';
import { InstancePaths } from '../paths.js';
import { machineFiles } from './machine-spec.js';

const instance = (storage: StorageName): Instance => ({ storage, vcpus: 1, memoryBytes: 2 ** 28 }) as Instance;

describe('what a hypervisor is told of a disk', () => {
  it.each([
    ['overlay', { format: 'qcow2', path: '/i/a/disk.qcow2' }],
    ['reflink', { format: 'raw', path: '/i/a/disk.raw' }],
    ['sparse', { format: 'raw', path: '/i/a/disk.raw' }],
    ['zfs', { format: 'raw', path: '/i/a/disk.raw', isDevice: true }],
  ] as const)('follows from its storage: %s is %o', (storage, disk) => {
    expect(machineFiles(instance(storage), new InstancePaths('/i/a')).disk).toEqual(disk);
  });
});
