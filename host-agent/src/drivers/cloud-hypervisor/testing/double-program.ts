import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

/**
 * Makes the double an executable file in a folder, as Cloud Hypervisor is one. @returns its path
 * @param options `snapshots`: whether its host's KVM lets VMs be captured
 */
export async function makeDoubleProgram(
  directory: string,
  { snapshots }: { readonly snapshots: boolean } = { snapshots: true },
): Promise<string> {
  const bundle = join(directory, 'double.mjs');
  await build({
    entryPoints: [fileURLToPath(new URL('double-main.ts', import.meta.url))],
    outfile: bundle,
    bundle: true,
    platform: 'node',
    format: 'esm',
    logLevel: 'silent',
  });
  const program = join(directory, snapshots ? 'cloud-hypervisor' : 'cloud-hypervisor-without-snapshots');
  const first = snapshots ? '' : '--no-nested-state';
  await writeFile(program, `#!/bin/sh\nexec '${process.execPath}' '${bundle}' ${first} "$@"\n`);
  await chmod(program, 0o755);
  return program;
}
