import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deepStrictEqual, match, ok } from 'node:assert/strict';
import fc from 'fast-check';
import { FUZZ_TIMEOUT_MS, holdsAsync } from '@offshoot/shared/testing/property.js';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { parseSubnet } from '../network/host/subnet.js';
import { answerCall } from './answer-call.js';
import { formatEntry } from './call-log.js';
import type { Configuration } from './configuration.js';
import { openSource } from './volume-copy.js';
import { SUBNET, ZFS_DATASET, calls } from './testing/call-words.js';

let stateDirectory: string;
/** What the names of the daemon's devices end with, or its table's. */
let own: string;
beforeAll(() => {
  stateDirectory = realpathSync(mkdtempSync(join(tmpdir(), 'grammar-')));
  own = createHash('sha256').update(stateDirectory).digest('hex').slice(0, 6);
  const images = join(stateDirectory, 'images');
  for (const folder of [join(stateDirectory, 'x'), join(images, 'x')]) mkdirSync(folder, { recursive: true });
  for (const file of ['a.ext4', 'x/b.ext4', '../outside.ext4']) writeFileSync(join(images, file), '', { mode: 0o644 });
  symlinkSync('a.ext4', join(images, 'link.ext4'));
  symlinkSync('x', join(images, 'y'));
});
afterAll(() => {
  rmSync(stateDirectory, { recursive: true });
});

const escaped = (text: string): string => text.replace(/[^A-Za-z0-9/]/g, '\\$&');

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
  const owner = `offshoot:state_directory=${escaped(stateDirectory)}`;
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
  const port =
    '(?:udp|tcp):(?:102[4-9]|10[3-9][0-9]|1[1-9][0-9]{2}|[2-9][0-9]{3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])';
  const network = [
    `tap create ofk-${own}`,
    `bridge create ofbr-${own} 10\\.9\\.8\\.0/24`,
    `tap create ofbr-${own} 10\\.9\\.8\\.0/24 (?:[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|250)`,
    `nftables set offshoot_${own} open_ports=${port}(?:,${port}){0,15}`,
    `bridge delete ofbr-${own}`,
    `copy ${escaped(join(stateDirectory, 'images'))}/(?:a|x/b)\\.ext4 ${dataset}`,
  ];
  // A blank of the lines above is one word's end; the names have none.
  const lines = ['version', 'capabilities', ...network, ...commands.map((command) => `zfs ${command}`)];
  const all = new RegExp(`^(?:${lines.join('|')})$`.replaceAll(' ', '\0'));
  const found = all.exec(call.join('\0'));
  if (found === null || call.some((word) => word.length > 255 && word.startsWith('tank/'))) return false;
  const { bytes = '131072', size: newSize = bytes, from, to } = found.groups ?? {};
  const size = BigInt(newSize);
  return size >= 131_072n && size <= 17_592_186_044_416n && size % 131_072n === 0n && from === to;
}

/** By the first two words and how many there are. */
const DEEDS: Readonly<Record<string, string>> = {
  'tap create 3': 'make keeper',
  'bridge create 4': 'make bridge',
  'tap create 5': 'make taps',
  'nftables set 4': 'open ports',
  'bridge delete 3': 'remove network',
  copy: 'fill volume',
};

describe('whatever the helper is called with', { timeout: FUZZ_TIMEOUT_MS }, () => {
  it('it is one of the exact commands, or nothing runs and the exit status is 2; and one line is logged', async () => {
    const seen = { carriedOut: 0, refused: 0 };
    const networkSubnet = parseSubnet(SUBNET);
    const configuration: Configuration = {
      zfsDataset: ZFS_DATASET,
      networkSubnet,
      stateDirectory,
      imagesDirectory: join(stateDirectory, 'images'),
      log: undefined,
    };
    await holdsAsync(
      fc.asyncProperty(calls(stateDirectory, own), async (call) => {
        const ran: (readonly string[])[] = [];
        const [printed, complaints, lines]: string[][] = [[], [], []];
        const status = await answerCall(call, {
          version: '1',
          caller: '1',
          configuration: () => configuration,
          log: (_path, entry) => void lines!.push(formatEntry({ time: new Date(0), caller: '1', ...entry })),
          find: (program) => `/bin/${program}`,
          hasTaps: () => true,
          begin: async (deed, args) => {
            if (deed === 'fill volume') await (await openSource(args[0] ?? '', 1)).close();
            return () => Promise.resolve(void ran.push(['perform', deed, ...args]));
          },
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
        const [first = '', second = ''] = call;
        const by =
          first === 'zfs'
            ? ['/bin/zfs']
            : ['perform', DEEDS[first === 'copy' ? first : `${first} ${second} ${String(call.length)}`]];
        deepStrictEqual(ran, allowed && !isQuestion ? [[...by, ...call.slice(1)]] : []);
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
