import { copyFile, mkdir, readdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { lookUp } from '@offshoot/host-agent/images/kernel-packages.js';
import type { PackageSource } from '@offshoot/host-agent/images/package-source.js';
import { runProgram } from '@offshoot/host-agent/images/tool.js';

/** Of what a kernel's headers depend on, the parts that belong to the kernel. */
const HEADER_PARTS = /^linux-(?:headers|kbuild|compiler)-/;
const UNATTENDED = { DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C.UTF-8' };

/**
 * Builds Debian's ZFS (package zfs-dkms, which is installed) for the kernel whose modules are in `root`. Takes some minutes of
 * two processors. Headers come by this machine's apt, as the kernel did: the archive inside may have another version.
 */
export async function buildZfs(
  root: string,
  release: string,
  packages: PackageSource,
  signal: AbortSignal,
): Promise<void> {
  const options = { signal, env: UNATTENDED };
  const inside = join(root, 'var/tmp/headers');
  await mkdir(inside);
  const headers = await lookUp(packages, `linux-headers-${release}`, signal);
  const parts = headers.dependencies.filter((name) => HEADER_PARTS.test(name));
  const debs: string[] = [];
  for (const record of [headers, ...(await Promise.all(parts.map((name) => lookUp(packages, name, signal))))]) {
    const deb = await packages.fetch(record, signal);
    await copyFile(deb, join(inside, basename(deb)));
    debs.push(join('/var/tmp/headers', basename(deb)));
  }
  // Builds it already, where DKMS finds that it should; then what follows has nothing to do.
  await runProgram('chroot', [root, 'dpkg', '-i', ...debs], options);
  const version = (await readdir(join(root, 'usr/src')))
    .map((name) => /^zfs-(\d[\w.]*)$/.exec(name)?.[1])
    .find((found) => found !== undefined);
  await runProgram('chroot', [root, 'dkms', 'install', `zfs/${version ?? ''}`, '-k', release], options);
  for (const made of [inside, join(root, 'var/lib/dkms')]) await rm(made, { recursive: true });
}
