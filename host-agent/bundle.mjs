import { readFile, rm } from 'node:fs/promises';
import { dirname, join, parse, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { CachedModule } from '@offshoot/shared/cached-module.js';
import { build } from 'esbuild';
import { compileDescriptors } from './dist/grpc/contract/compile-descriptors.js';
import { writeDescriptors } from './dist/grpc/contract/descriptor-file.js';

/**
 * Makes the programs that `bin/` starts, of what tsc has compiled:
 * `dist/offshootd.cjs`     the daemon, of dist/main.js
 * `dist/cli/offshoot.cjs`  the command line, of dist/cli/main.js
 * `*.cjs.cache`            V8's code cache of each, valid for the Node that ran this; any other Node compiles as usual
 * `*.js`                   what starts each with its cache, of dist/start.js
 * and `dist/api-descriptors.binpb`, which both read when they need it, of proto/.
 * Node takes its time for each file that it loads and for all it compiles: the daemon is ready after 0.35 s instead of 1.2 s of the
 * same modules one by one, the command line tells its usage after 0.21 s instead of 0.41 s (p50 of 9 in turn, Node 20, one processor).
 *
 * `node bundle.mjs FILE MODULE` makes the daemon into FILE (.mjs, and what belongs to it beside it), with MODULE loaded before
 * it: for tests.
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
const LEFT_OUT = [
  'better-sqlite3',
  'koffi',
  '@grpc/proto-loader',
  '@grpc/reflection',
  'grpc-health-check',
  'protobufjs',
  'long',
];
/**
 * Packages that name the folder they are in and do not need it: in a comment or a message (commander, colors), if there is one
 * (undici), for the workers of transports (pino, thread-stream) or for services (channelz and ORCA of grpc-js) that we have none of.
 */
const NEEDS_NO_FOLDER = /\/node_modules\/(commander|@colors\/colors|undici|pino|thread-stream|@grpc\/grpc-js)\//;

/** In a bundle `__dirname` is another folder than the package's: who reads a file there would fail, maybe not in any test. */
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

const common = { bundle: true, platform: 'node', target: 'node20', legalComments: 'none', logLevel: 'warning' };

/** @param name of the program's files, without their extensions */
async function makeProgram({ entry, name, extension = '.js', before }) {
  const outfile = `${name}.cjs`;
  // One of another source of the same length would be taken for its own.
  await rm(`${outfile}.cache`, { force: true });
  const modules = [before, entry].filter((module) => module !== undefined);
  await build({
    ...common,
    stdin: { contents: modules.map((module) => `import ${JSON.stringify(module)};`).join('\n'), resolveDir: here },
    outfile,
    format: 'cjs',
    // A module that is loaded with a cache may not import, but require.
    supported: { 'dynamic-import': false },
    external: LEFT_OUT,
    plugins: [ownPlace(entry, outfile), noFolder, undiciClientOnly],
    define: { 'import.meta.url': 'ownUrl' },
    banner: { js: `const ownUrl = require('node:url').pathToFileURL(__filename).href;` },
  });
  await build({ ...common, entryPoints: [join(here, 'dist/start.js')], outfile: `${name}${extension}`, format: 'esm' });
  writeCache(outfile);
}

/** With every function in it, also those that no start calls. V8 takes a cache only under the flags it was written with. */
function writeCache(file) {
  setFlagsFromString('--no-lazy');
  const module = new CachedModule(file);
  setFlagsFromString('--lazy');
  module.writeCache();
}

const daemon = join(here, 'dist/main.js');
const [outfile, before] = process.argv.slice(2);
if (outfile === undefined) {
  await makeProgram({ entry: daemon, name: join(here, 'dist/offshootd') });
  await makeProgram({ entry: join(here, 'dist/cli/main.js'), name: join(here, 'dist/cli/offshoot') });
  await writeDescriptors(join(here, 'dist'), compileDescriptors(join(here, '../proto')));
} else {
  const { dir, name, ext } = parse(resolve(outfile));
  await makeProgram({ entry: daemon, name: join(dir, name), extension: ext, before: resolve(before) });
}
