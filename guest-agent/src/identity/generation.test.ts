import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Generation } from './generation.js';

describe('the generation', () => {
  let directory: string;
  let path: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'offshoot-generation-'));
    path = join(directory, 'run/generation');
  });
  afterEach(() => rm(directory, { recursive: true, force: true }));

  it('begins at 0 and is in its file at every moment', async () => {
    const generation = new Generation(path);
    expect(await readFile(path, 'latin1')).toBe('0\n');
    for (let i = 1; i <= 11; i++) {
      generation.increment();
      expect(await readFile(path, 'latin1')).toBe(`${String(i)}\n`);
    }
    generation.close();
  });

  it('goes on where an agent that died left it', async () => {
    const first = new Generation(path);
    first.increment();
    first.close();
    const second = new Generation(path);
    expect(second.current).toBe(1);
    second.increment();
    expect(await readFile(path, 'latin1')).toBe('2\n');
    second.close();
  });

  it('begins anew where its file is nonsense', async () => {
    new Generation(path).close();
    await writeFile(path, 'x'.repeat(50));
    const generation = new Generation(path);
    expect(await readFile(path, 'latin1')).toBe('0\n');
    generation.close();
  });
});
