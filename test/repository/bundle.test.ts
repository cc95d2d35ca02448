import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CACHE } from '../harness/cache.js';

const HOST_AGENT = fileURLToPath(new URL('../../host-agent/', import.meta.url));
const bundler = join(HOST_AGENT, 'bundle.mjs');

describe('the bundler of the host agent', () => {
  let folder: string;
  beforeAll(async () => {
    // In the repository, where packages are found that are in no bundle.
    folder = await mkdtemp(join(CACHE, 'bundle-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  async function written(name: string, text: string): Promise<string> {
    const path = join(folder, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, text);
    return path;
  }

  it('puts a module before the daemon, which finds its own files from where that is', async () => {
    const before = await written('before.mjs', `process.stdout.write('first ');`);
    const daemon = join(folder, 'daemon.mjs');
    await execa('node', [bundler, daemon, before]);
    const { version } = JSON.parse(await readFile(join(HOST_AGENT, 'package.json'), 'utf8')) as { version: string };
    expect((await execa('node', [daemon, '--version'])).stdout).toBe(`first ${version}`);
  });

  it.each([
    [
      'module of ours',
      'host-agent/dist/app/astray.js',
      'import.meta.url',
      'looks for files beside itself, but will be in',
    ],
    ['package', 'node_modules/astray/index.js', '__dirname', 'reads files beside itself: leave its package out'],
  ])('refuses a %s that would look for its files where they are not', async (_what, name, place, why) => {
    const astray = await written(name, `console.log(${place});`);
    const before = await written('before-astray.mjs', `import ${JSON.stringify(astray)};`);
    const { exitCode, stderr } = await execa('node', [bundler, join(folder, 'never.mjs'), before], { reject: false });
    expect(exitCode).toBe(1);
    expect(stderr).toContain(`${astray} ${why}`);
  });
});
