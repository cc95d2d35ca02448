import { readFile } from 'node:fs/promises';
import { Unsupported, errnoOf } from '@offshoot/shared/errors.js';

/** Where a distribution keeps the kernel for virtual machines. */
export interface Distribution {
  readonly name: string;
  /** Package that always depends on the newest kernel, by Debian architecture. */
  readonly kernelMetaPackage: Readonly<Record<string, string>>;
  /** Of what the meta package depends on, directly or not: the packages with the kernel and its modules. */
  readonly kernelPackage: RegExp;
}

/** By ID of os-release(5). */
export const DISTRIBUTIONS: Readonly<Record<string, Distribution>> = {
  // One package has it all: /boot/vmlinuz-* and /lib/modules (Debian 13: /usr/lib/modules, *.ko.xz).
  debian: {
    name: 'Debian',
    kernelMetaPackage: { amd64: 'linux-image-cloud-amd64' },
    kernelPackage: /^linux-image-\d/,
  },
  // linux-image-*-generic has the kernel and depends on linux-modules-*-generic, which has the modules (*.ko.zst).
  ubuntu: {
    name: 'Ubuntu',
    kernelMetaPackage: { amd64: 'linux-image-virtual' },
    kernelPackage: /^linux-(?:image|modules)-\d/,
  },
};

const unquoted = (value: string): string => value.replace(/^(["'])(.*)\1$/, '$2');

/**
 * @param osRelease path of os-release(5); derivatives are known by their ID_LIKE
 * @throws Unsupported (DISTRIBUTION_UNKNOWN) naming those that are known
 */
export async function detectDistribution(osRelease = '/etc/os-release'): Promise<Distribution> {
  const text = await readFile(osRelease, 'utf8').catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return '';
    throw error;
  });
  const fields = new Map(
    text.split('\n').flatMap((line) => {
      const at = line.indexOf('=');
      return at < 0 ? [] : [[line.slice(0, at), unquoted(line.slice(at + 1).trim())] as const];
    }),
  );
  const id = fields.get('ID') ?? '';
  for (const candidate of [id, ...(fields.get('ID_LIKE') ?? '').split(' ')]) {
    const known = Object.hasOwn(DISTRIBUTIONS, candidate) ? DISTRIBUTIONS[candidate] : undefined;
    if (known !== undefined) return known;
  }
  const names = Object.values(DISTRIBUTIONS).map(({ name }) => name);
  throw new Unsupported(
    `the default image is made from packages of ${names.join(' or ')}; this machine has ${id === '' ? 'no os-release' : id}`,
    { reason: 'DISTRIBUTION_UNKNOWN', metadata: { distribution: id } },
  );
}
