import { TAR_BLOCK } from '../tar/tar-header.js';

export interface EntryOfTest {
  readonly path: string;
  /** Type flag, '0' (a file) when left out, '5' for paths that end with `/`. */
  readonly type?: string;
  readonly content?: Buffer | string;
  readonly target?: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: number;
  readonly major?: number;
  readonly minor?: number;
  /** Records of an extended header before it; values as bytes in Latin-1. */
  readonly pax?: Readonly<Record<string, string>>;
  /** What the header says instead of the content's length. */
  readonly size?: number;
}

/** A tar made by hand, so that every byte of it can be wrong. */
export function tarOfTest(entries: readonly EntryOfTest[], { end = true } = {}): Buffer {
  const parts = entries.flatMap((entry) => [...(entry.pax ? [paxHeader(entry.pax)] : []), record(entry)]);
  return Buffer.concat([...parts, ...(end ? [Buffer.alloc(2 * TAR_BLOCK)] : [])]);
}

export const padded = (data: Buffer): Buffer =>
  Buffer.concat([data, Buffer.alloc((TAR_BLOCK - (data.length % TAR_BLOCK)) % TAR_BLOCK)]);

/** A record's length counts its own digits. */
export function paxRecord(keyword: string, value: string): Buffer {
  const rest = Buffer.from(` ${keyword}=${value}\n`, 'latin1');
  let length = rest.length;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

function paxHeader(records: Readonly<Record<string, string>>): Buffer {
  const content = Buffer.concat(Object.entries(records).map(([keyword, value]) => paxRecord(keyword, value)));
  return record({ path: 'PaxHeaders/x', type: 'x', content });
}

function record(entry: EntryOfTest): Buffer {
  const { path, type = path.endsWith('/') ? '5' : '0', target = '', mode = type === '5' ? 0o755 : 0o644 } = entry;
  const content = Buffer.from(entry.content ?? '');
  const header = Buffer.alloc(TAR_BLOCK);
  header.write(path, 0, 100, 'latin1');
  for (const [at, value] of [
    [100, mode],
    [108, entry.uid ?? 0],
    [116, entry.gid ?? 0],
    [329, entry.major ?? 0],
    [337, entry.minor ?? 0],
  ] as const)
    header.write(value.toString(8).padStart(7, '0'), at);
  header.write((entry.size ?? content.length).toString(8).padStart(11, '0'), 124);
  header.write((entry.mtime ?? 1_600_000_000).toString(8).padStart(11, '0'), 136);
  header.write(type, 156);
  header.write(target, 157, 100, 'latin1');
  header.write('ustar\x0000', 257, 'latin1');
  return Buffer.concat([withChecksum(header), padded(content)]);
}

export function withChecksum(header: Buffer): Buffer {
  header.fill(0x20, 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return header;
}
