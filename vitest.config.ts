import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { isLab } from './test/harness/is-lab.js';
import { LongestFirst } from './test/harness/longest-first.js';

const source = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** Unit tests stand beside what they test and run on the sources; test/ has what needs real VMs and a build. */
export default defineConfig({
  resolve: {
    alias: [{ find: /^@offshoot\/(proto|shared)\/(.*)\.js$/, replacement: source('./$1/src/$2.ts') }],
  },
  test: {
    // Here and not on the command line, which the projects below do not go by. In the lab host a nested guest beside another
    // test file stands still, and everything after it: one file at a time.
    maxWorkers: isLab ? 1 : 2,
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        extends: true,
        test: { name: 'unit', include: ['{shared,host-agent,guest-agent}/src/**/*.test.ts', 'sdk/**/*.test.ts'] },
      },
      {
        extends: true,
        test: {
          name: 'vm',
          // The lab host's own tests mean nothing elsewhere: see test/lab.
          include: ['test/**/*.test.ts', ...(isLab ? ['test/lab/inside/*.lab-test.ts'] : [])],
          globalSetup: ['test/harness/build-daemons.ts', 'test/harness/build-image.ts'],
          // Doubly emulated, everything takes longer; whoever waits as long as that waits for nothing.
          testTimeout: isLab ? 900_000 : 180_000,
          hookTimeout: isLab ? 900_000 : 600_000,
        },
      },
    ],
  },
});
