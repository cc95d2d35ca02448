import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { replaceFile } from './durable-file.js';

describe('replacing a file', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'offshoot-file-'));
  });
  afterEach(() => {
    rmSync(directory, { recursive: true });
  });

  it.each([true, false])('leaves the new content and nothing else (durable: %s)', async (durable) => {
    const path = join(directory, 'record.json');
    writeFileSync(path, 'old');
    await replaceFile(path, 'new', { durable });
    expect(readFileSync(path, 'utf8')).toBe('new');
    expect(readdirSync(directory)).toEqual(['record.json']);
  });

  it('leaves the old content and no temporary file when it fails', async () => {
    const path = join(directory, 'folder');
    await replaceFile(join(directory, 'other'), 'x', { durable: true });
    mkdirSync(path);
    await expect(replaceFile(path, 'new', { durable: true })).rejects.toThrow();
    expect(readdirSync(directory).sort()).toEqual(['folder', 'other']);
  });
});
