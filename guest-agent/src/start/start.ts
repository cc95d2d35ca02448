import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { CachedModule } from '@offshoot/shared/cached-module.js';

/** Entry of the agent: `agent.cjs`. With `--write-code-cache` it only writes the caches the bundle is shipped with. */
const mainFile = join(__dirname, 'agent-main.cjs');
const grpcFile = join(__dirname, 'grpc.cjs');
let grpc: object | undefined;

if (process.argv.includes('--write-code-cache')) {
  writeWholeCache();
  const cached = new CachedModule(grpcFile);
  cached.run();
  cached.writeCache();
} else {
  new CachedModule(mainFile, (id) => {
    if (id !== './grpc.cjs') return undefined;
    grpc ??= new CachedModule(grpcFile).run();
    return grpc;
  }).run();
}

/**
 * With every function of the agent in it, also those that no boot calls: the first compiled in a fork would bring the whole
 * compiler with it, some 40 ms under emulation. V8 takes a cache only under the flags it was written with, so they are as
 * usual again by then.
 */
function writeWholeCache(): void {
  setFlagsFromString('--no-lazy');
  const main = new CachedModule(mainFile);
  setFlagsFromString('--lazy');
  main.writeCache();
}
