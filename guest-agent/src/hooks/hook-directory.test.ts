import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HookDirectory } from './hook-directory.js';

describe('hooks', () => {
  let directory: string;
  let said: string;
  const hook = async (name: string, script: string, mode = 0o755): Promise<void> => {
    const path = join(directory, name);
    await writeFile(path, `#!/bin/sh\n${script}\n`);
    await chmod(path, mode);
  };
  const run = async (limitMs?: number): Promise<string> => {
    const hooks = new HookDirectory(directory, limitMs);
    await hooks.run(hooks.list(), { OFFSHOOT_EVENT: 'after-fork', SAID: said });
    return readFile(said, 'utf8');
  };

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'offshoot-hooks-'));
    said = join(directory, '.said');
  });
  afterEach(() => rm(directory, { recursive: true, force: true }));

  it('are none where there is no folder', () => {
    expect(new HookDirectory(join(directory, 'absent')).list()).toEqual([]);
  });

  it('are the programs in it, in the order of their names', async () => {
    await hook('20-b', '');
    await hook('10-a.sh', '');
    await hook('30-data', '', 0o644);
    await hook('.hidden', '');
    await hook('40-c~', '');
    expect(new HookDirectory(directory).list().map((path) => basename(path))).toEqual(['10-a.sh', '20-b']);
  });

  it('run one after the other, and know what for', async () => {
    await hook('1', 'echo "1 $OFFSHOOT_EVENT" >> "$SAID"');
    await hook('2', 'echo 2 >> "$SAID"');
    expect(await run()).toBe('1 after-fork\n2\n');
  });

  it('go on after one that fails, cannot be run, or takes too long', async () => {
    await hook('1', 'exit 3');
    await writeFile(join(directory, '2'), '#!/nonexistent\n');
    await chmod(join(directory, '2'), 0o755);
    await hook('3', 'sleep 60 & sleep 60');
    await hook('4', 'echo 4 >> "$SAID"');
    expect(await run(200)).toBe('4\n');
  });
});
