import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { newcArchive } from './newc-archive.js';

const ARCHIVE = newcArchive([
  { kind: 'directory', path: 'bin', mode: 0o755 },
  { kind: 'file', path: 'bin/busybox', mode: 0o755, content: Buffer.from('odd') },
  { kind: 'link', path: 'bin/sh', target: 'busybox' },
  { kind: 'file', path: 'empty', mode: 0o644, content: Buffer.alloc(0) },
]);

const cpio = async (...args: string[]): Promise<string> => (await execa('cpio', args, { input: ARCHIVE })).stdout;
const hasCpio = (await execa('cpio', ['--version'], { reject: false })).exitCode === 0;

describe.skipIf(!hasCpio)(`newcArchive${hasCpio ? '' : ' (skipped: cpio is not installed)'}`, () => {
  it('is what cpio reads as the format newc, with modes, links and root as the owner of all', async () => {
    const lines = (await cpio('-itv', '--numeric-uid-gid')).split('\n').map((line) => line.split(/\s+/));
    expect(lines.map(([mode, , uid, gid, size]) => [mode, uid, gid, size])).toEqual([
      ['drwxr-xr-x', '0', '0', '0'],
      ['-rwxr-xr-x', '0', '0', '3'],
      ['lrwxrwxrwx', '0', '0', '7'],
      ['-rw-r--r--', '0', '0', '0'],
    ]);
    expect(lines.map((line) => line.slice(8).join(' '))).toEqual(['bin', 'bin/busybox', 'bin/sh -> busybox', 'empty']);
  });

  it('keeps contents that are no multiple of four bytes long', async () => {
    expect(await cpio('-i', '--to-stdout', 'bin/busybox')).toBe('odd');
  });

  it('is the same for the same entries', () => {
    const entry = { kind: 'file', path: 'a', mode: 0o644, content: Buffer.from('a') } as const;
    expect(newcArchive([entry]).equals(newcArchive([entry]))).toBe(true);
  });
});
