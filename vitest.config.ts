import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const source = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** Unit tests stand beside what they test and run on the sources; test/ has what needs real VMs and a build. */
export default defineConfig({
  resolve: {
    alias: [{ find: /^@offshoot\/(proto|shared)\/(.*)\.js$/, replacement: source('./$1/src/$2.ts') }],
  },
  test: {
    // Here, because projects take it from here, whatever the command line says. The lab host runs one file at a time, on its one
    // processor: beside another one a nested guest and then everything stood still.
    maxWorkers: process.env.OFFSHOOT_LAB === undefined ? 2 : 1,
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
          include: [
            'test/**/*.test.ts',
            ...(process.env.OFFSHOOT_LAB === undefined ? [] : ['test/lab/inside/*.lab-test.ts']),
          ],
          globalSetup: ['test/harness/build-image.ts'],
          testTimeout: 180_000,
          hookTimeout: 600_000,
        },
      },
    ],
  },
});
