import { Corrupt, InvalidState, Unsupported } from '@offshoot/shared/errors.js';
import type { Distribution } from './distribution.js';
import type { PackageRecord, PackageSource } from './package-source.js';

/**
 * The packages with the newest kernel for virtual machines: what the distribution's meta package depends on, followed as
 * far as the names are kernel packages.
 * @throws Unsupported for an architecture without such a kernel, InvalidState (PACKAGE_LISTS_MISSING) when no list has it
 */
export async function findKernelPackages(
  source: PackageSource,
  distribution: Distribution,
  signal?: AbortSignal,
): Promise<readonly PackageRecord[]> {
  const architecture = await source.architecture(signal);
  const meta = distribution.kernelMetaPackage[architecture];
  if (meta === undefined)
    throw new Unsupported(
      `the default image is made for ${Object.keys(distribution.kernelMetaPackage).join(', ')}; this machine is ${architecture}`,
      { reason: 'ARCHITECTURE_UNKNOWN', metadata: { architecture } },
    );

  const found = new Map<string, PackageRecord>();
  const open = [...(await lookUp(source, meta, signal)).dependencies];
  for (let name = open.shift(); name !== undefined; name = open.shift()) {
    if (found.has(name) || !distribution.kernelPackage.test(name)) continue;
    const record = await lookUp(source, name, signal);
    found.set(name, record);
    open.push(...record.dependencies);
  }
  if (found.size === 0)
    throw new Corrupt(`${meta} depends on no kernel package of ${distribution.name}`, {
      reason: 'KERNEL_PACKAGE_UNKNOWN',
      metadata: { package: meta },
    });
  return [...found.values()];
}

/** @throws InvalidState (PACKAGE_LISTS_MISSING) */
export async function lookUp(source: PackageSource, name: string, signal?: AbortSignal): Promise<PackageRecord> {
  const record = await source.find(name, signal);
  if (record !== undefined) return record;
  throw new InvalidState(
    `the package lists of this machine do not have ${name}: run apt-get update as root (make setup does), then try again`,
    { reason: 'PACKAGE_LISTS_MISSING', metadata: { package: name } },
  );
}
