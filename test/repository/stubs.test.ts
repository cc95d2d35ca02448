import { execFileSync } from 'node:child_process';
import { appendFileSync, cpSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const repository = fileURLToPath(new URL('../../', import.meta.url));
const check = (root: string): string =>
  execFileSync('bash', [join(root, 'scripts/check-stubs.sh')], { encoding: 'utf8', stdio: 'pipe' });

describe('the stubs in proto/src/generated', () => {
  it('are what the protocol files give', () => {
    expect(() => check(repository)).not.toThrow();
  });

  it('are noticed when they are not', () => {
    const copy = mkdtempSync(join(tmpdir(), 'offshoot-stubs-'));
    try {
      for (const part of ['proto', 'scripts']) cpSync(join(repository, part), join(copy, part), { recursive: true });
      symlinkSync(join(repository, 'node_modules'), join(copy, 'node_modules'));
      appendFileSync(join(copy, 'proto/src/generated/offshoot/v1/instance.ts'), '// by hand\n');
      expect(() => check(copy)).toThrow(/the stubs are not current/);
    } finally {
      rmSync(copy, { recursive: true });
    }
  });
});
