import { createHash } from 'node:crypto';
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { digestFile } from './file-digest.js';

const CHUNK = 4 * 1024 * 1024;

/** The definition once more, of what is in memory. */
function digestOf(content: Buffer): string {
  const whole = createHash('sha256');
  for (let at = 0; at < content.length; at += CHUNK)
    whole.update(
      createHash('sha256')
        .update(content.subarray(at, at + CHUNK))
        .digest(),
    );
  return whole.digest('hex');
}

describe('the checksum of a file', () => {
  let directory: string;
  let path: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'offshoot-digest-'));
    path = join(directory, 'file');
  });
  afterEach(() => {
    rmSync(directory, { recursive: true });
  });

  it.each([
    ['an empty file', Buffer.alloc(0)],
    ['a short file', Buffer.from('one')],
    ['one whole chunk', Buffer.alloc(CHUNK, 7)],
    ['chunks and a part of one', Buffer.concat([Buffer.alloc(CHUNK, 1), Buffer.alloc(CHUNK), Buffer.from('end')])],
  ])('is over the digests of its chunks: %s', async (_, content) => {
    writeFileSync(path, content);
    expect(await digestFile(path)).toBe(digestOf(content));
  });

  it('is the same whether zeros are holes or written', async () => {
    const size = 3 * CHUNK + 1000;
    const file = openSync(path, 'w');
    ftruncateSync(file, size);
    writeSync(file, Buffer.from('data'), 0, 4, CHUNK + 12_345);
    closeSync(file);
    const content = Buffer.alloc(size);
    content.write('data', CHUNK + 12_345);
    expect(await digestFile(path)).toBe(digestOf(content));
    writeFileSync(path, content);
    expect(await digestFile(path)).toBe(digestOf(content));
  });

  it('changes with any byte', async () => {
    const content = Buffer.alloc(CHUNK + 2, 1);
    writeFileSync(path, content);
    const before = await digestFile(path);
    content[CHUNK + 1] = 2;
    writeFileSync(path, content);
    expect(await digestFile(path)).not.toBe(before);
  });

  it('is given up when nobody waits for it any more', async () => {
    writeFileSync(path, 'x');
    await expect(digestFile(path, AbortSignal.abort(new Error('gone')))).rejects.toThrow('gone');
  });
});
