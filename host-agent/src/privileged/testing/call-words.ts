import fc from 'fast-check';

/** What the daemon has in these tests. */
export const ZFS_DATASET = 'tank/offshoot.v1';
/** The daemon could make 250 TAPs in it: all addresses but 6. */
export const SUBNET = '10.9.8.0/24';

/** Every command there is, with capitals for what callers choose. */
const shapes = (state: string, own: string): readonly string[][] =>
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
    `tap create ofk-${own}`,
    `bridge create ofbr-${own} ${SUBNET}`,
    `tap create ofbr-${own} ${SUBNET} COUNT`,
    `nftables set offshoot_${own} open_ports=PORTS`,
    `bridge delete ofbr-${own}`,
    `copy ${state}/images/a.ext4 D`,
    `copy ${state}/images/x/b.ext4 D`,
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
const count = fc.oneof(
  fc.integer({ min: 1, max: 250 }).map(String),
  fc.constantFrom('0', '-1', '+1', '01', '251', '1000', '1e2', '0x10', '1.0', ' 1', '9'.repeat(20)),
);
const port = fc
  .tuple(
    fc.constantFrom('udp', 'udp', 'tcp', 'sctp', 'UDP', ''),
    fc.oneof({ weight: 4, arbitrary: fc.integer({ min: 1024, max: 65_535 }) }, fc.integer({ min: 0, max: 70_000 })),
  )
  .map(([protocol, number]) => `${protocol}:${String(number)}`);
const ports = fc.oneof(
  port,
  fc.array(port, { maxLength: 3 }).map((list) => list.join(',')),
  fc
    .array(port, { minLength: 15, maxLength: 18 })
    .map((list) => list.join(',').replace(/sctp|UDP|^:|(?<=,):/g, 'udp:')),
);
/** Names of devices, tables and networks of others, or nearly those of the daemon. */
const foreign = fc.constantFrom(
  'eth0',
  'lo',
  'ofbr-000000',
  'ofk-000000',
  'oft-000000-1',
  'offshoot_000000',
  'ofbr-',
  '*',
  'filter',
  '10.9.8.0/23',
  '10.9.8.1/24',
  '10.9.8.0/24 ',
  '0.0.0.0/0',
  '192.168.0.0/16',
  'open_ports=',
  'open_ports=udp:22',
  'open_ports=udp:4000 }; flush ruleset',
  'open_ports=udp:4000\nflush ruleset',
  'identities=udp:4000',
  'create',
  'delete',
  'keeper',
);
/** Files that are there but not to be copied, and spellings of those that are. */
const files = (state: string): fc.Arbitrary<string> =>
  fc
    .constantFrom(
      'images/link.ext4',
      'images/y/b.ext4',
      'images/x',
      'images',
      'images/',
      'images/none.ext4',
      'images/../outside.ext4',
      'images/./a.ext4',
      'images//a.ext4',
      'images/a.ext4/',
      'images/x/../a.ext4',
      'outside.ext4',
      'images/a.ext4',
      'images-2/a.ext4',
    )
    .chain((path) => fc.constantFrom(`${state}/${path}`, path, `/etc/passwd`, '/dev/zero'));
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
  count,
  ports.map((list) => `open_ports=${list}`),
  foreign,
);

/**
 * Commands as they should be, some with a word changed, left out, put in, doubled, or joined to the next.
 * @param own what the names of the daemon's devices end with, or its table's
 */
export const calls = (stateDirectory: string, own: string): fc.Arbitrary<readonly string[]> => {
  const filled = fc.constantFrom(...shapes(stateDirectory, own)).chain((shape) =>
    fc
      .tuple(dataset, snapshot, leaf, bytes, fc.boolean(), count, ports)
      .map(([d, s, label, size, elsewhere, n, list]) => {
        let snapshots = 0;
        return shape.map((word) => {
          if (word === 'ROOT') return ZFS_DATASET;
          if (word === 'D') return d;
          if (word === 'COUNT') return n;
          if (word.endsWith('PORTS')) return word.replace('PORTS', list);
          if (word.endsWith('BYTES')) return word.replace('BYTES', size);
          if (word !== 'S') return word;
          return snapshots++ === 0 ? s : `${elsewhere ? d : (s.split('@')[0] ?? '')}@${label}`;
        });
      }),
  );
  // Half of the changes are at the end, where the names are, and most of them are other words.
  const spoilt = fc
    .tuple(filled, fc.nat(27), fc.oneof({ weight: 4, arbitrary: strange }, files(stateDirectory)), fc.nat(9))
    .map(([call, place, word, how]) => {
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
