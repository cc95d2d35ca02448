import { mkdirSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deepStrictEqual, match, ok } from 'node:assert/strict';
import fc from 'fast-check';
import { FUZZ_TIMEOUT_MS, holdsAsync } from '@offshoot/shared/testing/property.js';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { answerCall } from './answer-call.js';
import { formatEntry } from './call-log.js';
import type { Configuration } from './configuration.js';

const ZFS_DATASET = 'tank/offshoot.v1';
let stateDirectory: string;
beforeAll(() => {
  stateDirectory = realpathSync(mkdtempSync(join(tmpdir(), 'grammar-')));
  mkdirSync(join(stateDirectory, 'x'));
});
afterAll(() => {
  rmSync(stateDirectory, { recursive: true });
});

/**
 * What the specification lets pass, in one expression over the words between NULs (which no argument has): the questions, and
 * the commands of zfs on names strictly below the dataset. Sizes and lengths are looked at apart.
 */
function isAllowed(call: readonly string[]): boolean {
  if (call.some((word) => word.includes('\0'))) return false;
  const component = '[A-Za-z0-9_][A-Za-z0-9_.:\\-]*';
  const root = 'tank/offshoot\\.v1';
  const dataset = `${root}(?:/${component})+`;
  const snapshot = `${dataset}@${component}`;
  const owner = `offshoot:state_directory=${stateDirectory.replace(/[^A-Za-z0-9/]/g, '\\$&')}`;
  const commands = [
    `list -H -d 0 -o name ${root}`,
    `get -H -o value offshoot:state_directory ${root}`,
    `set ${owner} ${root}`,
    `set volsize=(?<size>[1-9][0-9]*) ${dataset}`,
    `list -H -o name (?:${dataset}|${snapshot})`,
    `list -H -o origin ${dataset}`,
    `list -H -p -o (?:available|used,usedbydataset,referenced) ${dataset}`,
    `list -H -d 1 -t (?:volume -o name|snapshot -s createtxg -o name,clones) ${dataset}`,
    `create -o mountpoint=none ${dataset}`,
    `create -s -o volmode=dev -V (?<bytes>[1-9][0-9]*) ${dataset}`,
    `clone -o volmode=(?:dev|none) ${snapshot} ${dataset}`,
    `promote ${dataset}`,
    `rename (?<from>${dataset})@${component} (?<to>${dataset})@${component}`,
    `snapshot ${snapshot}`,
    `destroy (?:${snapshot}|-r ${dataset})`,
  ];
  // A blank of the lines above is one word's end; the names have none.
  const all = new RegExp(`^(?:version|capabilities|zfs (?:${commands.join('|')}))$`.replaceAll(' ', '\0'));
  const found = all.exec(call.join('\0'));
  if (found === null || call.some((word) => word.length > 255 && word.startsWith('tank/'))) return false;
  const { bytes = '131072', size: newSize = bytes, from, to } = found.groups ?? {};
  const size = BigInt(newSize);
  return size >= 131_072n && size <= 17_592_186_044_416n && size % 131_072n === 0n && from === to;
}

const shapes = (state: string): readonly string[][] =>
  [
    'version',
    'capabilities',
    'zfs list -H -d 0 -o name ROOT',
    'zfs get -H -o value offshoot:state_directory ROOT',
    `zfs set offshoot:state_directory=${state} ROOT`,
    'zfs list -H -o name D',
    'zfs list -H -o name S',
    'zfs list -H -o origin D',
    'zfs list -H -p -o available D',
    'zfs list -H -p -o used,usedbydataset,referenced D',
    'zfs list -H -d 1 -t volume -o name D',
    'zfs list -H -d 1 -t snapshot -s createtxg -o name,clones D',
    'zfs create -o mountpoint=none D',
    'zfs create -s -o volmode=dev -V BYTES D',
    'zfs set volsize=BYTES D',
    'zfs snapshot S',
    'zfs clone -o volmode=none S D',
    'zfs clone -o volmode=dev S D',
    'zfs promote D',
    'zfs rename S S',
    'zfs destroy S',
    'zfs destroy -r D',
  ].map((line) => line.split(' '));

const leaf = fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,6}$/);
const dataset = fc.array(leaf, { minLength: 1, maxLength: 3 }).map((leaves) => [ZFS_DATASET, ...leaves].join('/'));
const snapshot = fc.tuple(dataset, leaf).map(([name, label]) => `${name}@${label}`);
const bytes = fc.oneof(
  fc.integer({ min: 1, max: 2 ** 27 }).map((units) => String(units * 131_072)),
  fc.constantFrom(
    '0',
    '1',
    '131071',
    '131072',
    '0131072',
    '131072.0',
    '1e9',
    '0x20000',
    '-131072',
    '17592186044416',
    '17592186175488',
    '9'.repeat(30),
  ),
);
/** What may be tried instead of a word. */
const strange = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 8 }),
  fc.constantFrom(
    '',
    ' ',
    '-',
    '--',
    '-R',
    '-r',
    '-f',
    '-rR',
    '-o',
    'volmode=full',
    'mountpoint=/',
    'exec=on',
    'list',
    'destroy',
    'zfs',
    'version',
    ZFS_DATASET,
    `${ZFS_DATASET}/`,
    `${ZFS_DATASET}//x`,
    `${ZFS_DATASET}/../x`,
    `${ZFS_DATASET}/.`,
    `${ZFS_DATASET}/x/..`,
    `${ZFS_DATASET}x/y`,
    `tank/offshootXv1/y`,
    `tank`,
    `tank/other/x`,
    `/${ZFS_DATASET}/x`,
    `${ZFS_DATASET}/x@`,
    `${ZFS_DATASET}@x`,
    `${ZFS_DATASET}/x@a@b`,
    `${ZFS_DATASET}/x@a,b`,
    `${ZFS_DATASET}/x@a%b`,
    `${ZFS_DATASET}/x\n`,
    `${ZFS_DATASET}/x y`,
    `${ZFS_DATASET}/-R`,
    `${ZFS_DATASET}/x#mark`,
    `${ZFS_DATASET}/x@${'n'.repeat(236)}`,
    `${ZFS_DATASET}/x@${'n'.repeat(237)}`,
    `${ZFS_DATASET}/${'n'.repeat(238)}`,
    `${ZFS_DATASET}/${'n'.repeat(239)}`,
    'offshoot:state_directory=/',
    'offshoot:state_directory=',
    'offshoot:state_directory=/etc/../root',
    '$(id)',
    '`id`',
    ';',
    '\u202e\u0085',
  ),
  dataset,
  snapshot,
  bytes,
);

/** Commands as they should be, some with a word changed, left out, put in, doubled, or joined to the next. */
const calls = (): fc.Arbitrary<readonly string[]> => {
  const filled = fc.constantFrom(...shapes(stateDirectory)).chain((shape) =>
    fc.tuple(dataset, snapshot, leaf, bytes, fc.boolean()).map(([d, s, label, size, elsewhere]) => {
      let snapshots = 0;
      return shape.map((word) => {
        if (word === 'ROOT') return ZFS_DATASET;
        if (word === 'D') return d;
        if (word.endsWith('BYTES')) return word.replace('BYTES', size);
        if (word !== 'S') return word;
        return snapshots++ === 0 ? s : `${elsewhere ? d : (s.split('@')[0] ?? '')}@${label}`;
      });
    }),
  );
  // Half of the changes are at the end, where the names are, and most of them are other words.
  const spoilt = fc.tuple(filled, fc.nat(27), strange, fc.nat(9)).map(([call, place, word, how]) => {
    const at = place < call.length ? place : call.length - 1;
    if (how === 0) return call.toSpliced(at, 1);
    if (how === 1) return call.toSpliced(at, 0, word);
    if (how === 2) return call.toSpliced(at, 0, call[at] ?? '');
    if (how === 3) return call.toSpliced(at, 2, call.slice(at, at + 2).join(' '));
    if (how === 4) return call.toSpliced(at, 1, `${call[at] ?? ''}${word}`);
    if (how === 5) return [...call, word];
    return call.toSpliced(at, 1, word);
  });
  return fc.oneof(
    { weight: 3, arbitrary: filled },
    { weight: 5, arbitrary: spoilt },
    fc.array(strange, { maxLength: 16 }),
  );
};

describe('whatever the helper is called with', { timeout: FUZZ_TIMEOUT_MS }, () => {
  it('it is one of the exact commands, or nothing runs and the exit status is 2; and one line is logged', async () => {
    const seen = { carriedOut: 0, refused: 0 };
    const configuration: Configuration = { zfsDataset: ZFS_DATASET, stateDirectory, log: undefined };
    await holdsAsync(
      fc.asyncProperty(calls(), async (call) => {
        const ran: (readonly string[])[] = [];
        const [printed, complaints, lines]: string[][] = [[], [], []];
        const status = await answerCall(call, {
          version: '1',
          configuration: () => configuration,
          log: (_path, entry) => void lines!.push(formatEntry({ time: new Date(0), caller: '1', ...entry })),
          find: (program) => `/bin/${program}`,
          run: (path, args) => {
            ran.push([path, ...args]);
            return Promise.resolve(true);
          },
          print: (text) => void printed!.push(text),
          complain: (line) => void complaints!.push(line),
        });
        const isQuestion = call.length === 1;
        const allowed = isAllowed(call);
        deepStrictEqual(status, allowed ? 0 : 2, JSON.stringify(call));
        deepStrictEqual(ran, allowed && !isQuestion ? [['/bin/zfs', ...call.slice(1)]] : []);
        deepStrictEqual(printed!.length, allowed && isQuestion ? 1 : 0);
        deepStrictEqual(complaints!.length, allowed ? 0 : 1);
        for (const line of complaints!) match(line, /^offshoot-privileged: refused: [\x20-\x7e]+$/);
        deepStrictEqual(lines!.length, 1);
        match(
          lines![0]!,
          allowed ? /^\S+ user 1 carried out \[[\x20-\x7e]*\]$/ : /^\S+ user 1 refused \[[\x20-\x7e]+$/,
        );
        seen[allowed ? 'carriedOut' : 'refused']++;
      }),
    );
    ok(seen.carriedOut > 0 && seen.refused > 0, JSON.stringify(seen));
  });
});
