import { readlinkSync } from 'node:fs';
import { ALL_SCENARIOS, type ScenarioName } from './all-scenarios.js';

/** Runs one scenario in a child process: `ROOT_NAMESPACE SCENARIO STATE_DIRECTORY WORLD`; prints its answer as JSON. */
const [, , rootNamespace, scenario, directory = ''] = process.argv;
if (rootNamespace === undefined || readlinkSync('/proc/self/ns/net') === rootNamespace)
  throw new Error('refused: this changes the network and belongs into a namespace of its own');

ALL_SCENARIOS[scenario as ScenarioName](directory).then(
  (answer) => {
    process.stdout.write(JSON.stringify(answer));
  },
  (error: unknown) => {
    process.stderr.write(error instanceof Error ? (error.stack ?? error.message) : String(error));
    process.exitCode = 1;
  },
);
