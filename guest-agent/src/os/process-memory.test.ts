import koffi from 'koffi';
import { describe, expect, it } from 'vitest';
import { PageMap } from './page-map.js';
import { ProcessMemory } from './process-memory.js';

const mmap = koffi.load('libc.so.6').func('void *mmap(void *a, size_t n, int p, int f, int fd, int64 o)');
const PRIVATE_ANONYMOUS = 0x22;
const POPULATE = 0x8000;
const pages = (flags: number): bigint => koffi.address(mmap(null, 8192, 3, PRIVATE_ANONYMOUS | flags, -1, 0));

describe('the memory of a process', () => {
  it('is read where it is in memory', () => {
    using memory = ProcessMemory.open(process.pid);
    const into = Buffer.alloc(16, 1);
    expect(memory.read(pages(POPULATE) + 4080n, into)).toBe(true);
    expect(into).toEqual(Buffer.alloc(16));
  });

  it('is not read, nor brought in, where it is not', () => {
    using memory = ProcessMemory.open(process.pid);
    const address = pages(0);
    expect(memory.read(address, Buffer.alloc(16))).toBe(false);
    expect(PageMap.own.isPresent(address)).toBe(false);
  });

  it('is none of a process that is not there', () => {
    expect(() => ProcessMemory.open(4_194_304)).toThrow(expect.objectContaining({ kind: 'InvalidInput' }));
  });
});
