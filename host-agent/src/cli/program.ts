import { Command, Option } from 'commander';
import { defineDoctor } from './commands/doctor.js';
import { defineFork } from './commands/fork.js';
import { defineHost } from './commands/host.js';
import { defineIdentify } from './commands/identify.js';
import { defineImage } from './commands/image.js';
import { defineInspect } from './commands/inspect.js';
import { defineLogs } from './commands/logs.js';
import { definePs } from './commands/ps.js';
import { definePause, defineResume } from './commands/pause.js';
import { defineRestore } from './commands/restore.js';
import { defineRm } from './commands/rm.js';
import { defineSnapshot } from './commands/snapshot.js';
import { defineRun } from './commands/run.js';
import { defineStandby } from './commands/standby.js';
import { defineStart } from './commands/start.js';
import { defineStop } from './commands/stop.js';
import { defineVersion } from './commands/version.js';
import type { Define } from './commands/define.js';
import { commandContext } from './command-context.js';
import { DaemonClient } from './daemon-client.js';
import { exitCodeHelp } from './exit-codes.js';

const DEFAULT_HOST = 'unix:///run/offshoot/api.sock';

/** In the order of a first session, which is the order of `--help`. */
const VERBS: readonly Define[] = [
  defineImage,
  defineRun,
  definePs,
  defineInspect,
  defineLogs,
  defineIdentify,
  defineStandby,
  defineRestore,
  defineFork,
  defineSnapshot,
  definePause,
  defineResume,
  defineStop,
  defineStart,
  defineRm,
  defineHost,
  defineDoctor,
  defineVersion,
];

/** Options every verb takes, before or after its name. */
export interface GlobalOptions {
  readonly host: string;
  readonly json: boolean;
}

/**
 * The whole command line. `parseAsync` rejects with what went wrong; nothing here ends the process.
 * @param signal cancels the call under way
 * @param quiet keeps usage texts off stderr, where a JSON document is expected
 */
export function buildProgram(signal: AbortSignal, quiet: boolean): Command {
  const program = new Command('offshoot')
    .description('Boot, park and fork micro-VMs.')
    .addOption(
      new Option('--host <address>', 'the daemon: unix:///PATH or tcp://HOST:PORT')
        .env('OFFSHOOT_HOST')
        .default(DEFAULT_HOST),
    )
    .option('--json', "print one JSON document, in protobuf's JSON mapping", false)
    .addHelpText('after', `\n${exitCodeHelp()}`);
  // Set before the verbs are made: they inherit it.
  program.exitOverride().configureOutput({
    outputError: () => undefined,
    writeErr: (text) => {
      if (!quiet) process.stderr.write(text);
    },
  });
  for (const define of VERBS)
    define(program, async (work) => {
      const { host, json } = program.opts<GlobalOptions>();
      using client = new DaemonClient(host, signal);
      await work(commandContext(client, json));
    });
  return program;
}
