import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { Script } from 'node:vm';

/** What CommonJS wraps around a module. */
const WRAPPER = ['(function (exports, require, module, __filename, __dirname) { ', '\n})'] as const;

type Wrapper = (
  exports: object,
  require: NodeJS.Require,
  module: { exports: object },
  filename: string,
  directory: string,
) => void;

/**
 * A CommonJS module beside its V8 code cache (`FILE.cache`). Parsing and compiling is most of the start of the agent under
 * emulation, and a good part of the daemon's; a cache made by another Node or for another source is rejected by V8, and the
 * module compiled as usual. V8 knows another source by its length alone: whoever writes a source writes its cache.
 */
export class CachedModule {
  private readonly script: Script;

  /** @param requireOther what the module gets for an id, before Node's own `require` is asked */
  constructor(
    private readonly file: string,
    private readonly requireOther: (id: string) => object | undefined = () => undefined,
  ) {
    const cachedData = readCache(file);
    this.script = new Script(WRAPPER.join(readFileSync(file, 'utf8')), {
      filename: file,
      ...(cachedData === undefined ? {} : { cachedData }),
    });
  }

  /** Whether V8 took the cache; undefined when there is none. */
  get cacheAccepted(): boolean | undefined {
    return this.script.cachedDataRejected === undefined ? undefined : !this.script.cachedDataRejected;
  }

  run(): object {
    const module = { exports: {} };
    const plain = createRequire(this.file);
    const require = Object.assign((id: string): unknown => this.requireOther(id) ?? plain(id), plain);
    (this.script.runInThisContext() as Wrapper)(module.exports, require, module, this.file, dirname(this.file));
    return module.exports;
  }

  /** Writes the cache of what has been compiled so far: after a run, of every function that ran. */
  writeCache(): void {
    writeFileSync(`${this.file}.cache`, this.script.createCachedData());
  }
}

function readCache(file: string): Buffer | undefined {
  try {
    return readFileSync(`${file}.cache`);
  } catch {
    return undefined;
  }
}
