import { writeSync } from 'node:fs';
import { LOCAL_SOCKET } from '../local/local-protocol.js';
import { askAgent } from './ask-agent.js';
import { parseCommandLine, USAGE } from './command-line.js';
import { EXIT, EXIT_BY_REASON } from './exit-codes.js';

const STDOUT = 1;
const STDERR = 2;

/** Runs the command; returns its exit code. */
async function run(argv: readonly string[]): Promise<number> {
  const request = parseCommandLine(argv);
  if (request === undefined) {
    writeSync(STDERR, USAGE);
    return EXIT.usage;
  }
  let answer;
  try {
    answer = await askAgent(process.env.OFFSHOOT_GUEST_SOCKET ?? LOCAL_SOCKET, request);
  } catch (error) {
    writeSync(STDERR, `offshoot-guest: the agent cannot be reached: ${String(error)}\n`);
    return EXIT.agentUnreachable;
  }
  if (!answer.ok) {
    const { reason, message } = answer.error ?? { reason: '', message: 'refused' };
    writeSync(STDERR, `offshoot-guest: ${message}\n`);
    return EXIT_BY_REASON[reason] ?? EXIT.failed;
  }
  if (answer.token !== undefined) writeSync(STDOUT, `${answer.token}\n`);
  if (answer.text !== undefined) writeSync(STDOUT, answer.text);
  if (answer.base64 !== undefined) writeSync(STDOUT, Buffer.from(answer.base64, 'base64'));
  return EXIT.done;
}

void run(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
});
