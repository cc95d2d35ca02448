import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** What is kept between runs of the tests. */
export const CACHE = fileURLToPath(new URL('../../.cache', import.meta.url));

/** Where images live between runs: a second run builds none. */
export const IMAGES = join(CACHE, 'images');
