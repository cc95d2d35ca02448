import { describe, expect, it } from 'vitest';
import { privateMemoryMib, privateMibIn } from './private-memory.js';

/** Two mappings of a fork's QEMU, shortened. */
const SMAPS = (path: string): string => `7f0000000000-7f0020000000 rw-p 00000000 fe:00 1234   ${path}
Size:             524288 kB
Rss:              262144 kB
Anonymous:         12288 kB
VmFlags: rd wr mr mw me ac sd
7f0030000000-7f0030001000 rw-p 00000000 00:00 0
Size:                  4 kB
Anonymous:             4 kB
`;

describe('what a VMM holds apart from its base', () => {
  it.each(['/state/instances/01x/memory', '/state/instances/01x/memory (deleted)', '/s/captures/01x/memory.next'])(
    'is told by the mapping of %s alone',
    (path) => {
      expect(privateMibIn(SMAPS(path))).toBe(12);
    },
  );

  it('is nothing for a process that maps no guest’s memory', () => {
    expect(privateMibIn(SMAPS('/usr/lib/libmemory.so'))).toBe(0);
    expect(privateMemoryMib(process.pid)).toBe(0);
  });
});
