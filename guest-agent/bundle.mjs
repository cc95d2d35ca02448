import { chmod, copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { build } from 'esbuild';

/**
 * Makes dist/bundle/, which an image has as /opt/offshoot:
 * `agent.cjs`       starts the agent: loads `agent-main.cjs` with its code cache
 * `agent-main.cjs`  the agent; `grpc.cjs` is what it loads only when a session speaks
 * `*.cache`         V8's code cache of each, valid for the Node that ran this; any other Node compiles as usual
 * `code-caches.json` which Node that was: the caches' own bytes are others each time, and say nothing to who compares bundles
 * `koffi.node`      the one native module, for x86-64 Linux
 * `offshoot-guest`  the command
 * CommonJS and minified, because that loads soonest under emulation.
 */
const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, 'dist/bundle');
const require = createRequire(import.meta.url);
const { version } = JSON.parse(await readFile(join(here, 'package.json'), 'utf8'));

/** Koffi's loader knows a native module for each system; the guest is one of them. */
const koffiForGuest = {
  name: 'koffi-for-guest',
  setup(bundler) {
    bundler.onResolve({ filter: /koffi\.node$/ }, ({ path }) =>
      path.includes('/linux_x64/') ? { path: './koffi.node', external: true } : { path, namespace: 'absent' },
    );
    // Only its installer downloads anything; loading Node's HTTPS costs more than all of Koffi.
    bundler.onResolve({ filter: /^https$/ }, ({ path, importer }) =>
      importer.includes('/koffi/') ? { path, namespace: 'absent' } : undefined,
    );
    bundler.onLoad({ filter: /.*/, namespace: 'absent' }, () => ({ contents: 'module.exports = {};' }));
  },
};

const common = {
  absWorkingDir: here,
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node20',
  minify: true,
  legalComments: 'none',
  define: { OFFSHOOT_AGENT_VERSION: JSON.stringify(version) },
};

/**
 * What the agent uses of grpc-js, without its client half: resolvers, balancers, proxies and the Node modules they load
 * are most of it. The generated stubs make a client class on load, which nobody here constructs.
 */
const grpcServerOnly = `
  const { Server } = require('@grpc/grpc-js/build/src/server');
  const { ServerCredentials } = require('@grpc/grpc-js/build/src/server-credentials');
  const { Status } = require('@grpc/grpc-js/build/src/constants');
  module.exports = { Server, ServerCredentials, status: Status, makeGenericClientConstructor: () => undefined };
`;

/** gRPC is half a megabyte: a file of its own, so that nobody parses it before it is needed. */
const grpcApart = {
  name: 'grpc-apart',
  setup(bundler) {
    bundler.onResolve({ filter: /^@grpc\/grpc-js$/ }, () => ({ path: './grpc.cjs', external: true }));
  },
};

await rm(out, { recursive: true, force: true });
await mkdir(out, { recursive: true });
await build({
  ...common,
  entryPoints: ['src/main.ts'],
  outfile: join(out, 'agent-main.cjs'),
  plugins: [koffiForGuest, grpcApart],
});
await build({
  ...common,
  stdin: { contents: grpcServerOnly, resolveDir: here },
  outfile: join(out, 'grpc.cjs'),
});
await build({ ...common, entryPoints: ['src/start/start.ts'], outfile: join(out, 'agent.cjs') });
await build({
  ...common,
  entryPoints: ['src/cli/main.ts'],
  outfile: join(out, 'offshoot-guest'),
  banner: { js: '#!/usr/bin/env node' },
});
await chmod(join(out, 'offshoot-guest'), 0o755);
// A program without an extension is what the nearest package.json says.
await writeFile(join(out, 'package.json'), '{"type":"commonjs"}\n');
await copyFile(join(dirname(require.resolve('koffi')), 'build/koffi/linux_x64/koffi.node'), join(out, 'koffi.node'));
await writeFile(
  join(out, 'code-caches.json'),
  `${JSON.stringify({ node: process.version, v8: process.versions.v8 })}\n`,
);
await promisify(execFile)(process.execPath, [join(out, 'agent.cjs'), '--write-code-cache']);
