import { execFile, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';

const run = promisify(execFile);
const source = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/**
 * A guest library under the suite, behind a program that does what it is asked on its standard input: a request a line, an
 * answer a line, fields separated by single spaces, bytes in hexadecimal (none: `-`). A refusal is `! REASON [PROBLEM]`.
 * Requests about bytes: `frames NAME TOKEN NONCE COUNT`, `header PAGE`, `segment PAGE`, `mailbox NAME NONCE PAGES`,
 * `ack-line NAME GENERATION NONCE STAGE DETAIL`, `ack-ok LINE`. About one living mailbox: `arm NAME TOKEN CAPACITY`,
 * `rearm TOKEN`, `wait MILLISECONDS keep|take`, `ack STAGE DETAIL MILLISECONDS`, `dispose`.
 */
export interface Library {
  readonly name: string;
  /** What the program needs of the machine, by the command that tells; undefined: nothing. */
  readonly tool: string | undefined;
  /** Whether it holds its pages back from a child of the process. */
  readonly hasOwnPages: boolean;
  /** Builds the program in an empty folder; argv to start it with. */
  build(folder: string): Promise<readonly [string, ...string[]]>;
}

/** Warnings end the compilation. */
const C_FLAGS = ['-Wall', '-Wextra', '-Wpedantic', '-Werror', '-g', '-O1'];
/** Undefined behaviour and reads or writes out of bounds end the program. */
const SANITIZERS = ['-fsanitize=address,undefined', '-fno-sanitize-recover=all'];

/** Whether a compiler has the libraries of its sanitizers: distributions ship them apart (Debian: libclang-rt-*-dev). */
function hasSanitizers(tool: string, flags: readonly string[]): boolean {
  const input = 'int main(void) { return 0; }';
  return spawnSync(tool, [...flags, ...SANITIZERS, '-', '-o', '/dev/null'], { input }).status === 0;
}

const compiled = (name: string, tool: string, language: string, standard: string): Library => {
  const flags = ['-x', language, `-std=${standard}`];
  const sanitizers = hasSanitizers(tool, flags) ? SANITIZERS : [];
  return {
    name: sanitizers.length > 0 ? name : `${name}, without sanitizers`,
    tool,
    hasOwnPages: true,
    build: async (folder) => {
      const program = join(folder, 'program');
      const files = [`-I${source('../c')}`, source('../c/conformance/program.c'), '-o', program];
      await run(tool, [...flags, ...C_FLAGS, ...sanitizers, ...files]);
      return [program];
    },
  };
};

export const LIBRARIES: readonly Library[] = [
  {
    name: 'JavaScript',
    tool: undefined,
    hasOwnPages: false,
    build: async (folder) => {
      const program = join(folder, 'program.mjs');
      await build({
        entryPoints: [source('../javascript/conformance/program.ts')],
        outfile: program,
        bundle: true,
        platform: 'node',
        format: 'esm',
        alias: { '@offshoot/shared': source('../../shared/src') },
      });
      return [process.execPath, program];
    },
  },
  {
    name: 'Python',
    tool: 'python3',
    hasOwnPages: true,
    build: () => Promise.resolve(['python3', '-B', source('../python/conformance/program.py')] as const),
  },
  compiled('C (gcc)', 'gcc', 'c', 'c99'),
  compiled('C (clang)', 'clang', 'c', 'c99'),
  compiled('C as C++ (g++)', 'g++', 'c++', 'c++11'),
];

/** Whether this machine has what its program needs. */
export const isTestable = ({ tool }: Library): boolean =>
  tool === undefined || spawnSync(tool, ['--version']).status === 0;
