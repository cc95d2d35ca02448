import { fileURLToPath } from 'node:url';

/** What is kept between runs of the tests. */
export const CACHE = fileURLToPath(new URL('../../.cache', import.meta.url));
