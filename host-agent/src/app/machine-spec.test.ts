import { describe, expect, it } from 'vitest';
import type { Instance } from '../domain/instance.js';
import type { StorageName } from '../domain/storage-name.js';
import { InstancePaths } from '../paths.js';
import { machineFiles } from './machine-spec.js';

const instance = (storage: StorageName): Instance => ({ storage, vcpus: 1, memoryBytes: 2 ** 28 }) as Instance;

describe('what a hypervisor is told of a disk', () => {
  it.each([
    ['overlay', 'qcow2', '/i/a/disk.qcow2'],
    ['reflink', 'raw', '/i/a/disk.raw'],
    ['sparse', 'raw', '/i/a/disk.raw'],
    ['zfs', 'raw', '/i/a/disk.raw'],
  ] as const)('follows from its storage: %s is %s, %s', (storage, format, path) => {
    expect(machineFiles(instance(storage), new InstancePaths('/i/a')).disk).toEqual({ path, format });
  });
});
