import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CredentialFile } from './credential-file.js';

const [ONE, OTHER] = [Buffer.alloc(43, 'one'), Buffer.alloc(43, 'other')];

describe('the file of a credential', () => {
  let folder: string;
  let path: string;
  let file: CredentialFile;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'offshoot-credential-'));
    path = join(folder, 'offshoot/credential');
    file = new CredentialFile(path);
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
  });

  it('is not there before there is one, and then for its owner alone', () => {
    expect(readdirSync(join(folder, 'offshoot'))).toEqual([]);
    file.set(ONE);
    expect([readFileSync(path, 'latin1'), statSync(path).mode & 0o777]).toEqual([ONE.toString(), 0o600]);
  });

  it('stays the same file with each new one, so that a watch goes on', () => {
    file.set(ONE);
    const { ino } = statSync(path);
    file.set(OTHER);
    expect([readFileSync(path, 'latin1'), statSync(path).ino]).toEqual([OTHER.toString(), ino]);
    file.wipe();
    file.set(ONE);
    expect([readFileSync(path, 'latin1'), statSync(path).ino]).toEqual([ONE.toString(), ino]);
  });

  it('is empty when it is wiped, also twice, and before there ever was one', () => {
    file.wipe();
    file.set(ONE);
    for (let times = 0; times < 2; times++) {
      file.wipe();
      expect(readFileSync(path, 'latin1')).toBe('');
    }
  });

  it('keeps what it has, and nothing beside it, when another one is rehearsed', () => {
    file.set(ONE);
    file.rehearse(OTHER);
    expect([readFileSync(path, 'latin1'), readdirSync(join(folder, 'offshoot'))]).toEqual([
      ONE.toString(),
      ['credential'],
    ]);
  });

  it('is not written through a link', () => {
    const elsewhere = join(folder, 'elsewhere');
    writeFileSync(elsewhere, 'precious');
    symlinkSync(elsewhere, path);
    expect(() => {
      file.set(ONE);
    }).toThrow('ELOOP');
    expect(readFileSync(elsewhere, 'utf8')).toBe('precious');
  });
});
