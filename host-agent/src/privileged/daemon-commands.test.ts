import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeDiskStorage } from '../storage/testing/conformance.js';
import { openZfs } from '../storage/zfs/open-zfs.js';
import { ZfsDouble } from '../storage/zfs/testing/zfs-double.js';
import { zfsDouble } from '../storage/zfs/testing/zfs-subjects.js';
import type { ZfsProgram } from '../storage/zfs/zfs-program.js';
import { expect, it } from 'vitest';
import { GRAMMAR, usageOf } from './grammar.js';
import { matchCall } from './match-call.js';

/** Hands on what the helper would run, and so throws at the first command that the daemon issues and the grammar has not. */
const throughGrammar = (double: ZfsProgram): ZfsProgram => ({
  run: async (args, signal) => {
    const stateDirectory = stateDirectoryOf(args);
    const configuration = {
      zfsDataset: 'pool/offshoot',
      networkSubnet: undefined,
      stateDirectory,
      imagesDirectory: '/unused',
      log: undefined,
    };
    const order = matchCall(['zfs', ...args], configuration);
    expect(order).toEqual({ program: 'zfs', args });
    return await double.run('args' in order ? order.args : [], signal);
  },
  fill: (file, volume, signal) => double.fill(file, volume, signal),
});

/** The lab's, which it chooses itself. */
const stateDirectoryOf = (args: readonly string[]): string =>
  args.find((arg) => arg.startsWith('offshoot:state_directory='))?.split('=')[1] ?? '/unused';

describeDiskStorage(zfsDouble('zfs, by commands of the helper', throughGrammar));

it('the daemon opens its dataset with commands of the helper', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'daemon-commands-'));
  const double = new ZfsDouble('pool/offshoot', directory, directory);
  const program = throughGrammar(double);
  await openZfs({ dataset: 'pool/offshoot', stateDirectory: directory, program });
  expect(double.commands.length).toBeGreaterThan(5);
  await rm(directory, { recursive: true });
});

it('the grammar has no two commands of the same fixed words, of which one would never be found', () => {
  const shapes = GRAMMAR.map(({ words }) =>
    words.map((word) => (typeof word === 'string' ? word : `${word.begins ?? ''}*`)).join(' '),
  );
  expect(new Set(shapes).size).toBe(GRAMMAR.length);
  expect(GRAMMAR.map(usageOf).filter((usage) => / -[a-zA-Z]*R|-f\b/.test(usage))).toEqual([]);
});
