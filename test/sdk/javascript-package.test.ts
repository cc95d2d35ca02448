import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const run = promisify(execFile);
const repository = fileURLToPath(new URL('../../', import.meta.url));

/** Uses everything that is public, so that the declarations of all of it are looked at. */
const PROGRAM = `
async function main(): Promise<void> {
  const mailbox: Mailbox = await arm('task', { capacity: 5000 });
  const outcome = await mailbox.wait({ timeoutMs: 0 }).catch((error: unknown) => error);
  console.log(mailbox.capacity, mailbox.token.length, outcome instanceof MailboxError && outcome.reason);
  await mailbox.dispose();
}
void main();
`;

/** What somebody has who installed the package: what npm would pack, and their own program. */
describe('the JavaScript package, installed', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'offshoot-sdk-'));
    const npm = ['pack', '--silent', '--pack-destination', folder];
    execFileSync('npm', npm, { cwd: join(repository, 'sdk/javascript'), stdio: 'pipe' });
    const [archive = ''] = readdirSync(folder);
    const installed = join(folder, 'node_modules/@offshoot/mailbox');
    mkdirSync(installed, { recursive: true });
    execFileSync('tar', ['-xzf', join(folder, archive), '-C', installed, '--strip-components=1']);
  });
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });

  it.each([
    ['an ECMAScript module', 'program.mts'],
    ['CommonJS', 'program.cts'],
  ])('type-checks and runs as %s', async (_, name) => {
    const source = join(folder, name);
    writeFileSync(source, `import { arm, MailboxError, type Mailbox } from '@offshoot/mailbox';\n${PROGRAM}`);
    const types = join(repository, 'node_modules/@types');
    const options = ['--strict', '--module', 'nodenext', '--target', 'es2022', '--lib', 'es2023,esnext.disposable'];
    const compiler = join(repository, 'node_modules/typescript/bin/tsc');
    await run(process.execPath, [compiler, ...options, '--typeRoots', types, '--types', 'node', source]);
    const compiled = source.replace(/ts$/, 'js');
    const env = { ...process.env, OFFSHOOT_GUEST_SOCKET: join(folder, 'nobody.sock') };
    const { stdout } = await run(process.execPath, [compiled], { env });
    expect(stdout).toBe('7680 32 MAILBOX_EMPTY\n');
  });

  it('has no dependency, and nothing in it but what it needs', () => {
    const installed = join(folder, 'node_modules/@offshoot/mailbox');
    const names = readdirSync(installed, { recursive: true, encoding: 'utf8' }).filter((name) => name.includes('.'));
    expect(names.sort()).toEqual([
      'README.md',
      'dist/index.cjs',
      'dist/index.d.cts',
      'dist/index.d.ts',
      'dist/index.js',
      'package.json',
    ]);
    const manifest = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as object;
    expect(manifest).not.toHaveProperty('dependencies');
  });
});
