import { fileURLToPath } from 'node:url';
import { CachedModule } from '@offshoot/shared/cached-module.js';

/** What a program of `bin/` starts: the one of the same name beside it, with its code cache. */
new CachedModule(fileURLToPath(import.meta.url).replace(/\.m?js$/, '.cjs')).run();
