import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { OciLayoutOfTest } from '../testing/oci-layout-of-test.js';
import { RegistryOfTest } from '../testing/registry-of-test.js';
import { tarOfTest } from '../testing/tar-of-test.js';
import { IMPORT_LIMITS, ImportBudget } from './import-limits.js';
import { REGISTRY_LIMITS, registrySource } from './registry-source.js';
import type { RootSource } from './root-source.js';

// Programs are run, on machines that do other things too.
vi.setConfig({ testTimeout: 60_000 });

const signal = new AbortController().signal;
const isInstalled = async (program: string): Promise<boolean> =>
  (await execa(program, ['--version'], { reject: false })).exitCode === 0;
const missing: string[] = [];
for (const program of ['skopeo', 'docker-registry']) if (!(await isInstalled(program))) missing.push(program);

let folder: string;
let layout: OciLayoutOfTest;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'offshoot-registry-'));
  layout = new OciLayoutOfTest(join(folder, 'layout'));
  layout.addLayerTar(tarOfTest([{ path: 'etc/' }, { path: 'etc/file', content: 'content' }])).finish({ Cmd: ['/run'] });
});
afterEach(() => rm(folder, { recursive: true }));

async function open(reference: string, limits = REGISTRY_LIMITS): Promise<{ identity: string; source: RootSource }> {
  const found = await registrySource(reference, signal, limits);
  const scratch = await mkdtemp(join(folder, 'scratch-'));
  const budget = await ImportBudget.open(IMPORT_LIMITS, folder);
  return { identity: found.identity, source: (await found.open({ scratch, budget, signal })) as RootSource };
}

async function names({ layers }: RootSource): Promise<string[]> {
  const paths: string[] = [];
  for (const { entries } of layers) for await (const { path } of entries(() => undefined, signal)) paths.push(path);
  return paths;
}

describe.skipIf(missing.length > 0)(
  `Debian's docker-registry${missing.length > 0 ? ` (skipped: ${missing.join(', ')})` : ''}`,
  () => {
    /** Serves while `use` runs. */
    async function withRegistry(use: (host: string) => Promise<void>): Promise<void> {
      const config = join(folder, 'config.json');
      await mkdir(join(folder, 'registry'));
      const storage = { filesystem: { rootdirectory: join(folder, 'registry') } };
      await writeFile(config, JSON.stringify({ version: '0.1', storage, http: { addr: '127.0.0.1:0' } }));
      const registry = execa('docker-registry', ['serve', config], { reject: false, stdout: 'ignore' });
      try {
        for await (const line of createInterface({ input: registry.stderr })) {
          const host = /listening on (127\.0\.0\.1:\d+)/.exec(line)?.[1];
          if (host === undefined) continue;
          await use(host);
          return;
        }
        throw new Error('docker-registry ended by itself');
      } finally {
        registry.kill();
        await registry;
      }
    }
    const push = (host: string, ...options: string[]) =>
      execa('skopeo', [
        'copy',
        '--dest-tls-verify=false',
        ...options,
        `oci:${layout.path}`,
        `docker://${host}/team/app:1`,
      ]);

    it('gives an image by its tag and by its digest, the same as the layout it came from', async () => {
      await withRegistry(async (host) => {
        await push(host);
        const { identity, source } = await open(`${host}/team/app:1`);
        expect(identity).toBe(`oci ${layout.manifests[0]!.digest}`);
        expect(source.config?.command).toEqual(['/run']);
        expect(await names(source)).toEqual(['etc/', 'etc/file']);
        expect((await open(`${host}/team/app@${layout.manifests[0]!.digest}`)).identity).toBe(identity);
      });
    });

    it('gives an image in Docker’s own format', async () => {
      await withRegistry(async (host) => {
        await push(host, '--format', 'v2s2');
        const { source } = await open(`${host}/team/app:1`);
        expect(await names(source)).toEqual(['etc/', 'etc/file']);
      });
    });

    it('says so when it has no such image', async () => {
      await withRegistry(async (host) => {
        await expect(open(`${host}/team/none:1`)).rejects.toMatchObject({
          kind: 'NotFound',
          reason: 'IMAGE_NOT_IN_REGISTRY',
        });
        await push(host);
        await expect(open(`${host}/team/app:2`)).rejects.toMatchObject({ reason: 'IMAGE_NOT_IN_REGISTRY' });
      });
    });
  },
);

const noSkopeo = missing.includes('skopeo');
describe.skipIf(noSkopeo)(`a registry${noSkopeo ? ' (skipped: skopeo)' : ''}`, () => {
  it('that stalls is given up after a time', async () => {
    await using registry = await RegistryOfTest.serve(layout, (content, response) => {
      response.writeHead(200, { 'Content-Length': content.length });
      response.write(content.subarray(0, 10));
    });
    await expect(open(`${registry.host}/app:1`, { askMs: 60_000, fetchMs: 1500 })).rejects.toMatchObject({
      kind: 'Timeout',
      reason: 'REGISTRY_TIMEOUT',
    });
  });

  it.each<[string, (content: Buffer) => Buffer]>([
    ['less than', (content) => content.subarray(0, 10)],
    ['more than', (content) => Buffer.concat([content, Buffer.alloc(100)])],
    ['something else than', (content) => Buffer.alloc(content.length)],
  ])('that gives %s it says is refused', async (_, change) => {
    await using registry = await RegistryOfTest.serve(layout, (content, response) => {
      response.end(change(content));
    });
    await expect(open(`${registry.host}/app:1`)).rejects.toMatchObject({
      kind: 'Unreachable',
      reason: 'REGISTRY_FAILED',
    });
  });

  it('that nobody runs cannot be reached', async () => {
    const { host } = await RegistryOfTest.serve(layout, () => undefined).then(async (registry) => {
      await registry[Symbol.asyncDispose]();
      return registry;
    });
    await expect(open(`${host}/app:1`)).rejects.toMatchObject({ kind: 'Unreachable', reason: 'REGISTRY_FAILED' });
  });
});
