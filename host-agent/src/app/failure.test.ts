import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { InstancePaths } from '../paths.js';
import type { VmExit } from '../ports/driver.js';
import { exitReason } from './failure.js';

let root: string;
let paths: InstancePaths;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'offshoot-failure-'));
  paths = new InstancePaths(root);
  mkdirSync(paths.logs);
  writeFileSync(paths.consoleLog, 'booting\nlast words\n');
});
afterEach(() => {
  rmSync(root, { recursive: true });
});

describe('why an instance is FAILED', () => {
  const exits: readonly (readonly [VmExit, string])[] = [
    [{ code: 3, signal: null, logTail: '' }, 'the hypervisor ended with exit status 3'],
    [{ code: null, signal: 'SIGBUS', logTail: '' }, 'the hypervisor ended by signal SIGBUS'],
    [
      { code: 1, signal: null, logTail: 'no such disk' },
      'the hypervisor ended with exit status 1; its log: no such disk',
    ],
    [
      { code: 0, signal: null, cause: 'panicked', logTail: '' },
      "the guest's kernel panicked; the hypervisor ended with exit status 0",
    ],
    [
      { code: null, signal: null, logTail: '' },
      'the hypervisor ended for a reason that cannot be known (it was not a child of this daemon)',
    ],
  ];
  it.each(exits)('is told of %o', async (exit, reason) => {
    expect(await exitReason(exit, paths)).toBe(`${reason}; end of the console:\nbooting\nlast words`);
  });
});
