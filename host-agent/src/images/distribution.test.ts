import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { detectDistribution } from './distribution.js';

let folder: string;
let file: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'offshoot-distribution-'));
  file = join(folder, 'os-release');
});
afterEach(() => rm(folder, { recursive: true }));

describe('detectDistribution', () => {
  it('knows Debian and Ubuntu by their ID', async () => {
    await writeFile(file, 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n');
    expect((await detectDistribution(file)).name).toBe('Debian');
    await writeFile(file, 'NAME="Ubuntu"\nID=ubuntu\nID_LIKE=debian\n');
    expect((await detectDistribution(file)).name).toBe('Ubuntu');
  });

  it('knows a derivative by its ID_LIKE, the nearest relative first', async () => {
    await writeFile(file, 'ID=linuxmint\nID_LIKE="ubuntu debian"\n');
    expect((await detectDistribution(file)).name).toBe('Ubuntu');
  });

  it('refuses any other system, naming it and those that are known', async () => {
    await writeFile(file, 'ID=fedora\n');
    await expect(detectDistribution(file)).rejects.toMatchObject({
      kind: 'Unsupported',
      reason: 'DISTRIBUTION_UNKNOWN',
      message: expect.stringMatching(/Debian or Ubuntu.*fedora/) as string,
    });
    await expect(detectDistribution(join(folder, 'absent'))).rejects.toMatchObject({ reason: 'DISTRIBUTION_UNKNOWN' });
  });
});
