import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { mkdtemp, open, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Corrupt, InvalidInput, InvalidState, Unreachable } from '@offshoot/shared/errors.js';
import { identifyFile, mappingsOf } from './file-mappings.js';
import { PrivatePages, hasPrivatePages } from './private-pages.js';
import { listedRuns, privateRuns } from './private-runs.js';
import { ProcessMemory } from './process-memory.js';
import { sparseCopy } from './sparse-copy.js';

const PAGE = 4096;
const PAGES = 64;
const SIZE = PAGES * PAGE;

const hasPython = await promisify(execFile)('python3', ['--version']).then(
  () => true,
  () => false,
);

/** Maps the file at argv[1] whole; writes 'dirty' at the start of the pages named in argv[3:]. */
const MAPPER = `
import mmap, sys
f = open(sys.argv[1], 'r+b')
m = mmap.mmap(f.fileno(), 0, flags=getattr(mmap, sys.argv[2]))
for page in sys.argv[3:]: m[int(page) * 4096:int(page) * 4096 + 5] = b'dirty'
open('seen', 'wb').write(m)
print('mapped', flush=True)
sys.stdin.read()
`;

describe.skipIf(!hasPython)(`memory of a process that maps a file${hasPython ? '' : ' (skipped: python3)'}`, () => {
  let directory: string;
  let base: string;
  let child: ChildProcess | undefined;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'process-memory-'));
    base = join(directory, 'base, 1');
    await writeFile(base, '');
    await using file = await open(base, 'r+');
    await file.truncate(SIZE);
    await file.write(Buffer.from('base'), 0, 4, 3 * PAGE);
  });
  afterEach(async () => {
    child?.kill('SIGKILL');
    await rm(directory, { recursive: true });
  });
  async function map(kind: 'MAP_PRIVATE' | 'MAP_SHARED', ...dirty: number[]): Promise<number> {
    child = spawn('python3', ['-c', MAPPER, base, kind, ...dirty.map(String)], {
      cwd: directory,
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await once(child.stdout!, 'data');
    return child.pid!;
  }
  const regions = [
    { gpa: 0, size: 2 * PAGE, fileOffset: 0 },
    { gpa: 1024 * PAGE, size: SIZE - 2 * PAGE, fileOffset: 2 * PAGE },
  ];

  it('is read and written where the guest has it, and the file stays as it is', async () => {
    const pid = await map('MAP_PRIVATE');
    await using memory = await ProcessMemory.open(pid, await identifyFile(base), regions);
    expect(String(await memory.read(1025 * PAGE, 4))).toBe('base');
    await memory.write(1025 * PAGE + 2, Buffer.from('RED'));
    expect(String(await memory.read(1025 * PAGE, 5))).toBe('baRED');
    expect(String((await readFile(base)).subarray(3 * PAGE, 3 * PAGE + 5))).toBe('base\0');
  });

  it('is refused outside RAM, across regions, and for writing when it is shared', async () => {
    const pid = await map('MAP_SHARED');
    await using memory = await ProcessMemory.open(pid, await identifyFile(base), regions);
    for (const [gpa, length] of [
      [2 * PAGE - 1, 2],
      [-1, 1],
      [0.5, 1],
      [Number.NaN, 1],
      [1024 * PAGE - 1, 1],
      [0, -1],
    ] as const)
      await expect(memory.read(gpa, length)).rejects.toThrow(InvalidInput);
    await expect(memory.write(0, Buffer.from('x'))).rejects.toThrow(InvalidState);
    expect((await readFile(base))[0]).toBe(0);
  });

  it('is not opened for a file that is not mapped, mapped in part, or a process that is gone', async () => {
    const pid = await map('MAP_PRIVATE');
    const identity = await identifyFile(base);
    await expect(ProcessMemory.open(pid, await identifyFile(directory), regions)).rejects.toThrow(Corrupt);
    const tooLarge = [{ gpa: 0, size: SIZE + PAGE, fileOffset: 0 }];
    await expect(ProcessMemory.open(pid, identity, tooLarge)).rejects.toThrow(Corrupt);
    child!.kill('SIGKILL');
    await once(child!, 'exit');
    await expect(mappingsOf(pid, identity)).rejects.toThrow(Unreachable);
  });

  it('gives up exactly the pages that were changed', async () => {
    const dirty = [0, 5, 6, 7, 63];
    const pid = await map('MAP_PRIVATE', ...dirty);
    expect(await changedOf(pid)).toBe(dirty.length);
  });

  it('gives up more pages than fit into one reading, alone and side by side', async () => {
    const pages = 20_000;
    await truncate(base, pages * PAGE);
    const dirty = Array.from({ length: pages }, (_, page) => page).filter((page) => page % 2 === 0 || page > 12_000);
    const pid = await map('MAP_PRIVATE', ...dirty);
    expect(await changedOf(pid)).toBe(dirty.length);
    const [mapping] = await mappingsOf(pid, await identifyFile(base));
    const pagemap = openSync(`/proc/${String(pid)}/pagemap`, 'r');
    expect([...privateRuns(pagemap, mapping!)]).toEqual([...listedRuns(pagemap, mapping!)]);
    closeSync(pagemap);
  });

  it('has no pages of its own while it only reads', async () => {
    const identity = await identifyFile(base);
    const pid = await map('MAP_PRIVATE');
    await using memory = await ProcessMemory.open(pid, identity, regions);
    await memory.read(0, PAGE);
    expect(await hasPrivatePages(pid, identity)).toBe(false);
    await memory.write(0, Buffer.from('x'));
    expect(await hasPrivatePages(pid, identity)).toBe(true);
  });

  /** Copies base and changed pages, and checks the copy against what the mapper wrote; how many pages were copied. */
  async function changedOf(pid: number): Promise<number> {
    const identity = await identifyFile(base);
    const copy = join(directory, 'copy');
    await sparseCopy(base, copy);
    using pages = await PrivatePages.of(pid, identity, copy);
    const count = await pages.stage();
    await pages.write();
    const expected = await readFile(join(directory, 'seen'));
    expect((await readFile(copy)).equals(expected)).toBe(true);
    return count;
  }
});
