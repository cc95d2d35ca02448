import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

/**
 * Makes what the package consists of, of what tsc has compiled to dist/tsc: `dist/index.js` and `dist/index.cjs`, one file
 * each with the frame's codec in it, so that a guest needs nothing else; and their declarations.
 */
const at = (path) => fileURLToPath(new URL(path, import.meta.url));

for (const [format, outfile] of [
  ['esm', 'dist/index.js'],
  ['cjs', 'dist/index.cjs'],
])
  await build({
    entryPoints: [at('src/index.ts')],
    outfile: at(outfile),
    format,
    bundle: true,
    platform: 'node',
    target: 'node20',
    legalComments: 'none',
  });

// All that is public stands in api.ts; index.ts only gives its one function a name.
const declarations = `${await readFile(at('dist/tsc/api.d.ts'), 'utf8')}export declare const arm: Arm;\n`;
for (const name of ['dist/index.d.ts', 'dist/index.d.cts'])
  await writeFile(at(name), declarations.replace(/^\/\/# sourceMappingURL=.*\n/m, ''));
