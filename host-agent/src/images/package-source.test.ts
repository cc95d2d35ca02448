import { describe, expect, it } from 'vitest';
import { parseStanza } from './apt-package-source.js';
import { DISTRIBUTIONS } from './distribution.js';
import { findKernelPackages } from './kernel-packages.js';
import { dependencyNames } from './package-source.js';
import type { PackageRecord, PackageSource } from './package-source.js';

const STANZA = `Package: linux-image-virtual
Version: 6.8.0.31.31
Architecture: amd64
Depends: linux-image-6.8.0-31-generic (= 6.8.0-31.31), ucode | other [amd64]
SHA256: 00ff
Description: kernel
 for virtual machines
`;

/** The archive as it is described in a table: name to dependencies. */
const archive = (table: Readonly<Record<string, readonly string[]>>, architecture = 'amd64'): PackageSource => ({
  architecture: () => Promise.resolve(architecture),
  find: (name): Promise<PackageRecord | undefined> => {
    const dependencies = table[name];
    return Promise.resolve(dependencies && { name, version: '1', architecture, sha256: '', dependencies });
  },
  fetch: () => Promise.reject(new Error('nothing is fetched to look a package up')),
});
const { debian, ubuntu } = DISTRIBUTIONS;

describe('package records', () => {
  it('are read from the first stanza of what apt shows', () => {
    expect(parseStanza(`${STANZA}\n${STANZA.replace('00ff', '11ff')}`)).toEqual({
      name: 'linux-image-virtual',
      version: '6.8.0.31.31',
      architecture: 'amd64',
      sha256: '00ff',
      dependencies: ['linux-image-6.8.0-31-generic', 'ucode'],
    });
  });

  it('are absent for packages nobody can download', () => {
    expect(parseStanza(STANZA.replace(/^SHA256.*\n/m, ''))).toBeUndefined();
    expect(parseStanza('')).toBeUndefined();
  });

  it('name dependencies without versions, of alternatives the first', () => {
    expect(dependencyNames('a (= 1), b:any | c, d2.0+x-y')).toEqual(['a', 'b', 'd2.0+x-y']);
    expect(dependencyNames('')).toEqual([]);
  });
});

describe('findKernelPackages', () => {
  it('finds the one package Debian has it all in', async () => {
    const source = archive({
      'linux-image-cloud-amd64': ['linux-image-6.1.0-56-cloud-amd64'],
      'linux-image-6.1.0-56-cloud-amd64': ['kmod', 'linux-base'],
    });
    const found = await findKernelPackages(source, debian!);
    expect(found.map(({ name }) => name)).toEqual(['linux-image-6.1.0-56-cloud-amd64']);
  });

  it("finds Ubuntu's packages of the kernel and of its modules", async () => {
    const source = archive({
      'linux-image-virtual': ['linux-image-6.8.0-31-generic', 'linux-modules-extra-virtual'],
      'linux-image-6.8.0-31-generic': ['kmod', 'linux-base', 'linux-modules-6.8.0-31-generic'],
      'linux-modules-6.8.0-31-generic': ['linux-image-6.8.0-31-generic'],
    });
    const found = await findKernelPackages(source, ubuntu!);
    expect(found.map(({ name }) => name)).toEqual(['linux-image-6.8.0-31-generic', 'linux-modules-6.8.0-31-generic']);
  });

  it('says to run apt-get update where no list has the package', async () => {
    await expect(findKernelPackages(archive({}), debian!)).rejects.toMatchObject({
      kind: 'InvalidState',
      reason: 'PACKAGE_LISTS_MISSING',
      message: expect.stringMatching(/linux-image-cloud-amd64.*apt-get update.*make setup/) as string,
    });
  });

  it('refuses an architecture it has no kernel for', async () => {
    await expect(findKernelPackages(archive({}, 'riscv64'), debian!)).rejects.toMatchObject({ kind: 'Unsupported' });
  });
});
