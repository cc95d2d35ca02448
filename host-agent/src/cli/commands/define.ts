import type { Command } from 'commander';
import type { CommandContext } from '../command-context.js';

/** Runs a command's work with a connection; what it rejects with becomes message and exit code. */
export type Runner = (work: (context: CommandContext) => Promise<void>) => Promise<void>;

/** Adds one verb to the program. */
export type Define = (program: Command, run: Runner) => void;
