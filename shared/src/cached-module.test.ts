import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CachedModule } from './cached-module.js';

describe('a module with its code cache', () => {
  let folder: string;
  let file: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'offshoot-cached-'));
    file = join(folder, 'module.cjs');
  });
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });
  const write = (word: string): void => {
    writeFileSync(file, `exports.say = () => [${JSON.stringify(word)}, __dirname, require('node:path').sep];`);
  };
  const said = (module: CachedModule): unknown => (module.run() as { say: () => unknown }).say();

  it('runs without one, with the cache that was written, and with that of another source, which is not taken', () => {
    write('one');
    const plain = new CachedModule(file);
    expect(plain.cacheAccepted).toBeUndefined();
    expect(said(plain)).toEqual(['one', folder, '/']);
    plain.writeCache();
    const cached = new CachedModule(file);
    expect(cached.cacheAccepted).toBe(true);
    expect(said(cached)).toEqual(['one', folder, '/']);
    write('another');
    const other = new CachedModule(file);
    expect(other.cacheAccepted).toBe(false);
    expect(said(other)).toEqual(['another', folder, '/']);
  });

  it.each(['', 'noise'])('runs with a cache that is "%s"', (cache) => {
    write(`beside "${cache}"`);
    writeFileSync(`${file}.cache`, cache);
    const module = new CachedModule(file);
    expect(module.cacheAccepted).toBe(false);
    expect(said(module)).toEqual([`beside "${cache}"`, folder, '/']);
  });

  it('is asked first for what it requires', () => {
    writeFileSync(file, `exports.say = () => [require('ours').word, require('node:path').sep];`);
    const ours = { word: 'ours' };
    expect(said(new CachedModule(file, (id) => (id === 'ours' ? ours : undefined)))).toEqual(['ours', '/']);
  });

  it.each(['host-agent/dist/offshootd.cjs', 'host-agent/dist/cli/offshoot.cjs'])(
    'is what %s is, which the build made a cache for that this Node takes',
    (path) => {
      const module = new CachedModule(fileURLToPath(new URL(`../../${path}`, import.meta.url)));
      expect(module.cacheAccepted).toBe(true);
    },
  );
});
