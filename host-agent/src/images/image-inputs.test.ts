import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AptPackageSource } from './apt-package-source.js';
import { detectDistribution } from './distribution.js';
import { gatherInputs, type ImageInputs } from './image-inputs.js';

const ASSETS = fileURLToPath(new URL('../../../images/default/', import.meta.url));

const folder = await mkdtemp(join(tmpdir(), 'offshoot-inputs-'));
const packages = new AptPackageSource(join(folder, 'packages'));
const hasLists = (await packages.find('linux-image-cloud-amd64').catch(() => undefined)) !== undefined;
const skipped = hasLists ? '' : ' (skipped: no apt lists with linux-image-cloud-amd64)';
afterAll(() => rm(folder, { recursive: true }));

describe.skipIf(!hasLists)(`what the default image is made of${skipped}`, () => {
  /** The inputs with an agent bundle that has this file, besides those it had. */
  const inputsWith = async (name: string, text: string): Promise<ImageInputs> => {
    await writeFile(join(folder, name), text);
    return gatherInputs({
      packages,
      distribution: await detectDistribution(),
      agentBundle: folder,
      assets: ASSETS,
      digestMemory: `${folder}-digests.json`,
      node: process.execPath,
      busybox: '/bin/busybox',
    });
  };
  beforeAll(() => writeFile(join(folder, 'offshoot-guest'), '#!/bin/sh\n'));
  afterAll(() => rm(`${folder}-digests.json`));

  it('is another image for another agent, and for caches of its code for another Node', async () => {
    const one = await inputsWith('agent.cjs', '// one\n');
    const other = await inputsWith('agent.cjs', '// other\n');
    const cached = await inputsWith('code-caches.json', '{"node":"v20.20.2"}');
    expect(new Set([one, other, cached].map(({ id }) => id)).size).toBe(3);
    expect(await inputsWith('agent.cjs', '// other\n')).toEqual(cached);
  });

  it('is the same image with other caches for the same Node, which are told apart', async () => {
    await writeFile(join(folder, 'agent.cjs'), '// agent\n');
    const some = await inputsWith('agent.cjs.cache', 'some');
    const others = await inputsWith('agent.cjs.cache', 'others');
    expect(others.id).toBe(some.id);
    expect(others.codeCaches).not.toBe(some.codeCaches);
  });
});
