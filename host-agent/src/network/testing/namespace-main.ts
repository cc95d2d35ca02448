import { readlinkSync } from 'node:fs';
import { SCENARIOS, type ScenarioName } from './scenarios.js';

/** Runs one scenario in a child process: `ROOT_NAMESPACE SCENARIO STATE_DIRECTORY`; prints its answer as JSON. */
const [, , rootNamespace, scenario, directory = ''] = process.argv;
if (rootNamespace === undefined || readlinkSync('/proc/self/ns/net') === rootNamespace)
  throw new Error('refused: this changes the network and belongs into a namespace of its own');

SCENARIOS[scenario as ScenarioName](directory).then(
  (answer) => {
    process.stdout.write(JSON.stringify(answer));
  },
  (error: unknown) => {
    process.stderr.write(error instanceof Error ? (error.stack ?? error.message) : String(error));
    process.exitCode = 1;
  },
);
