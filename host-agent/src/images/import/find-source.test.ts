import { writeFile } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SourceLab, refusal } from '../testing/source-lab.js';

let lab: SourceLab;
beforeEach(async () => {
  lab = await SourceLab.open();
});
afterEach(() => lab[Symbol.asyncDispose]());

describe('a source', () => {
  it.each<[string, string, string]>([
    ['that is a relative path', 'images/x', 'IMAGE_SOURCE_UNKNOWN'],
    ['that is empty text', '', 'IMAGE_SOURCE_UNKNOWN'],
    ['that is a device', '/dev/null', 'IMAGE_SOURCE_UNKNOWN'],
    ['that is not there', '/nonexistent/image.tar', 'IMAGE_SOURCE_MISSING'],
    ['that is no reference', 'docker://UPPER CASE', 'IMAGE_SOURCE_UNKNOWN'],
    ['that is an option', 'docker://--help', 'IMAGE_SOURCE_UNKNOWN'],
  ])('%s is refused', async (_, source, reason) => {
    await expect(lab.find(source)).rejects.toMatchObject({ reason });
  });

  it.each<[string, Buffer]>([
    ['text', Buffer.from('#!/bin/sh\n'.repeat(500))],
    ['empty', Buffer.alloc(0)],
    ['zeros', Buffer.alloc(10_240)],
    ['a packed text', gzipSync(Buffer.from('text'.repeat(1000)))],
  ])('that is a file of %s is refused', async (_, content) => {
    await writeFile(lab.at('file'), content);
    await expect(lab.read(lab.at('file'))).rejects.toMatchObject(refusal('IMAGE_SOURCE_UNKNOWN', /neither a tar/));
  });
});
