import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Conflict, InvalidInput } from '@offshoot/shared/errors.js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { StatePaths } from '../paths.js';
import { StateDirectory } from './state-directory.js';

describe('the state directory', () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'offshoot-state-'));
  });
  afterEach(() => {
    rmSync(root, { recursive: true });
  });

  it('is one daemon’s alone, and free again when it is gone', async () => {
    const paths = new StatePaths(join(root, 'state'));
    {
      using held = await StateDirectory.open(paths);
      expect(held.paths).toBe(paths);
      await expect(StateDirectory.open(paths)).rejects.toThrow(Conflict);
      await expect(StateDirectory.open(paths)).rejects.toThrow(/another daemon uses .*--state-dir/);
    }
    (await StateDirectory.open(paths))[Symbol.dispose]();
  });

  it('is readable by its owner alone', async () => {
    const paths = new StatePaths(join(root, 'state'));
    using held = await StateDirectory.open(paths);
    expect(statSync(held.paths.root).mode & 0o777).toBe(0o700);
  });

  it('is refused when it is relative, or so deep that sockets in it could not be named', () => {
    expect(() => new StatePaths('state')).toThrow(InvalidInput);
    expect(() => new StatePaths(`/${'d'.repeat(100)}`)).toThrow(/at most \d+ bytes/);
  });
});
