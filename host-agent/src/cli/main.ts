#!/usr/bin/env node
import { CommanderError } from 'commander';
import { errnoOf } from '@offshoot/shared/errors.js';
import { formatFailure, toFailure } from './call-error.js';
import { EXIT_CODES } from './exit-codes.js';
import { buildProgram, type GlobalOptions } from './program.js';

/** Ctrl-C cancels the call, which the daemon then rolls back; a second one ends the process the hard way. */
const interrupt = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const)
  process.once(name, () => {
    interrupt.abort();
  });

// `offshoot logs x | head`: the reader has what it wanted, which is no failure.
for (const stream of [process.stdout, process.stderr])
  stream.on('error', (error) => {
    process.exit(errnoOf(error) === 'EPIPE' ? EXIT_CODES.ok.code : EXIT_CODES.failure.code);
  });

// Looked for by hand, because the command line may be malformed before commander comes to it; what follows -- is not ours.
const separator = process.argv.indexOf('--');
const json = process.argv.slice(2, separator < 0 ? undefined : separator).includes('--json');
const program = buildProgram(interrupt.signal, json);
async function main(): Promise<void> {
  try {
    await program.parseAsync();
  } catch (error) {
    process.exitCode = report(error);
  }
}

/** Tells what went wrong on stderr. @returns the exit code */
function report(error: unknown): number {
  if (error instanceof CommanderError && error.exitCode === 0) return EXIT_CODES.ok.code; // it printed the help asked for
  const failure = toFailure(error, program.opts<GlobalOptions>().host);
  // Whoever pressed Ctrl-C knows that the call was cancelled.
  const expected = interrupt.signal.aborted && failure.status === 'CANCELLED';
  if (!expected || json) process.stderr.write(`${formatFailure(failure, json)}\n`);
  return interrupt.signal.aborted ? EXIT_CODES.interrupted.code : failure.exitCode;
}

// Not awaited here: what is loaded with a code cache is CommonJS.
void main();
