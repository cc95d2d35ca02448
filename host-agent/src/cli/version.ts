import { readFileSync } from 'node:fs';

/** Version of this package, from its own description: as far from src/cli as from dist/cli. */
export function packageVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
