import { join } from 'node:path';
import { CachedModule } from './cached-module.js';

/** Entry of the agent: `agent.cjs`. With `--write-code-cache` it only writes the caches the bundle is shipped with. */
const grpcFile = join(__dirname, 'grpc.cjs');
let grpc: object | undefined;

const main = new CachedModule(join(__dirname, 'agent-main.cjs'), (id) => {
  if (id !== './grpc.cjs') return undefined;
  grpc ??= new CachedModule(grpcFile).run();
  return grpc;
});

if (process.argv.includes('--write-code-cache')) {
  main.writeCache();
  const cached = new CachedModule(grpcFile);
  cached.run();
  cached.writeCache();
} else {
  main.run();
}
