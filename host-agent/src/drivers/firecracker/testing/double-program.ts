import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

/** Makes the double an executable file in a folder, as Firecracker is one. @returns its path */
export async function makeDoubleProgram(directory: string): Promise<string> {
  const bundle = join(directory, 'double.mjs');
  await build({
    entryPoints: [fileURLToPath(new URL('double-main.ts', import.meta.url))],
    outfile: bundle,
    bundle: true,
    platform: 'node',
    format: 'esm',
    logLevel: 'silent',
  });
  const program = join(directory, 'firecracker');
  await writeFile(program, `#!/bin/sh\nexec '${process.execPath}' '${bundle}' "$@"\n`);
  await chmod(program, 0o755);
  return program;
}
