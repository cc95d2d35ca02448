import { readFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { compileDescriptors } from './dist/grpc/contract/compile-descriptors.js';
import { writeDescriptors } from './dist/grpc/contract/descriptor-file.js';

/**
 * Makes the programs that `bin/` starts, one file each, of what tsc has compiled:
 * `dist/offshootd.js`     the daemon, of dist/main.js
 * `dist/cli/offshoot.js`  the command line, of dist/cli/main.js
 * and `dist/api-descriptors.binpb`, which both read when they need it, of proto/.
 * Node takes its time for each file that it loads: the daemon, which then opens 144 of them and not 684, is ready after 0.54 s
 * instead of 1.02 s; the command line ends after 0.21 s instead of 0.27 s (p50 of 9 in turn, Node 20, one processor).
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

/** Native modules, for which a bundler has no place; packages that read files of their own, and what those share with the rest. */
const LEFT_OUT = ['better-sqlite3', 'koffi', '@grpc/*', 'grpc-health-check', 'protobufjs', 'long'];
/**
 * Packages that name the folder they are in and do not need it: in a comment or a message (commander, colors), if there is one
 * (undici), for the workers of transports, which we have none of (pino, thread-stream).
 */
const NEEDS_NO_FOLDER = /\/node_modules\/(commander|@colors\/colors|undici|pino|thread-stream)\//;

/** A bundle is a module, in which no `__dirname` is defined: who asked for it would fail there and then, maybe not in any test. */
const noFolder = {
  name: 'no-folder',
  setup(bundler) {
    bundler.onLoad({ filter: /\/node_modules\/.*\.(js|cjs)$/ }, async ({ path }) => {
      if (NEEDS_NO_FOLDER.test(path) || !/\b__(dir|file)name\b/.test(await readFile(path, 'utf8'))) return undefined;
      return { errors: [{ text: `${path} reads files beside itself: leave its package out of the bundle` }] };
    });
  },
};

/**
 * What the drivers use of undici, which otherwise loads fetch, web sockets, proxies, caches and mocks, a quarter of everything.
 * Its index gives dispatchers their methods in the same way.
 */
const undiciClient = `
  const Client = require('undici/lib/dispatcher/client');
  const Dispatcher = require('undici/lib/dispatcher/dispatcher');
  Object.assign(Dispatcher.prototype, require('undici/lib/api'));
  module.exports = { Client, errors: require('undici/lib/core/errors') };
`;
const undiciClientOnly = {
  name: 'undici-client-only',
  setup(bundler) {
    bundler.onResolve({ filter: /^undici$/ }, () => ({ path: 'undici', namespace: 'client-only' }));
    bundler.onLoad({ filter: /.*/, namespace: 'client-only' }, () => ({ contents: undiciClient, resolveDir: here }));
  },
};

async function bundle({ entry, outfile, before }) {
  const modules = [before, entry].filter((module) => module !== undefined);
  await build({
    stdin: { contents: modules.map((module) => `import ${JSON.stringify(module)};`).join('\n'), resolveDir: here },
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    external: LEFT_OUT,
    legalComments: 'none',
    logLevel: 'warning',
    plugins: [ownPlace(entry, outfile), noFolder, undiciClientOnly],
    // For CommonJS packages, which ask for Node's modules by it.
    banner: { js: `import { createRequire } from 'node:module';\nconst require = createRequire(import.meta.url);` },
  });
}

const daemon = join(here, 'dist/main.js');
const [outfile, before] = process.argv.slice(2);
if (outfile === undefined) {
  await bundle({ entry: daemon, outfile: join(here, 'dist/offshootd.js') });
  await bundle({ entry: join(here, 'dist/cli/main.js'), outfile: join(here, 'dist/cli/offshoot.js') });
  await writeDescriptors(join(here, 'dist'), compileDescriptors(join(here, '../proto')));
} else {
  await bundle({ entry: daemon, outfile: resolve(outfile), before: resolve(before) });
}
