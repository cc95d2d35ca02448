import { readFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

/**
 * Makes the programs that `bin/` starts, one file each, of what tsc has compiled:
 * `dist/offshootd.js`     the daemon, of dist/main.js
 * `dist/cli/offshoot.js`  the command line, of dist/cli/main.js
 * Node takes its time for each file that it loads: the daemon, which then opens 144 of them and not 684, is ready after 0.54 s
 * instead of 1.02 s; the command line ends after 0.16 s instead of 0.27 s (p50 of 9 in turn, Node 20, one processor).
 *
 * `node bundle.mjs FILE MODULE` makes the daemon into FILE, with MODULE loaded before it: for tests.
 */
const here = dirname(fileURLToPath(import.meta.url));

/** What Offshoot's own modules find beside themselves (proto/, package.json) they find from there, too. */
const ownPlace = (entry, outfile) => ({
  name: 'own-place',
  setup(bundler) {
    bundler.onLoad({ filter: /\/(host-agent|shared|proto)\/dist\/.*\.js$/ }, async ({ path }) => {
      const text = await readFile(path, 'utf8');
      if (text.includes('import.meta.url') && dirname(path) !== dirname(entry))
        return { errors: [{ text: `${path} looks for files beside itself, but will be in ${dirname(entry)}` }] };
      // Elsewhere than beside its entry, it looks from where that is.
      if (dirname(outfile) === dirname(entry)) return undefined;
      return { contents: text.replaceAll('import.meta.url', JSON.stringify(pathToFileURL(entry).href)) };
    });
  },
});

/** Native modules, for which a bundler has no place. */
const NATIVE = ['better-sqlite3', 'koffi'];
/** Packages that read files of their own, and what they share with the rest of the daemon. */
const WITH_FILES = ['@grpc/*', 'grpc-health-check', 'protobufjs', 'long'];

async function bundle({ entry, outfile, before, external }) {
  const modules = [before, entry].filter((module) => module !== undefined);
  await build({
    stdin: { contents: modules.map((module) => `import ${JSON.stringify(module)};`).join('\n'), resolveDir: here },
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    external,
    legalComments: 'none',
    logLevel: 'warning',
    plugins: [ownPlace(entry, outfile)],
    // For CommonJS packages, which ask for Node's modules by it.
    banner: { js: `import { createRequire } from 'node:module';\nconst require = createRequire(import.meta.url);` },
  });
}

const daemon = { entry: join(here, 'dist/main.js'), external: [...NATIVE, ...WITH_FILES] };
const [outfile, before] = process.argv.slice(2);
if (outfile === undefined) {
  await bundle({ ...daemon, outfile: join(here, 'dist/offshootd.js') });
  await bundle({
    entry: join(here, 'dist/cli/main.js'),
    outfile: join(here, 'dist/cli/offshoot.js'),
    external: NATIVE,
  });
} else {
  await bundle({ ...daemon, outfile: resolve(outfile), before: resolve(before) });
}
