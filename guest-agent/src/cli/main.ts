import { writeSync } from 'node:fs';
import { messageOf } from '@offshoot/shared/errors.js';
import { LOCAL_SOCKET } from '../local/local-protocol.js';
import { askAgent, type AgentAnswer } from './ask-agent.js';
import { parseCommandLine, USAGE, type Print } from './command-line.js';
import { EXIT, EXIT_BY_REASON } from './exit-codes.js';

const STDOUT = 1;
const STDERR = 2;

/** Runs the command; returns its exit code. */
async function run(argv: readonly string[]): Promise<number> {
  const command = parseCommandLine(argv);
  if (command === undefined) {
    writeSync(STDERR, USAGE);
    return EXIT.usage;
  }
  let answer;
  try {
    answer = await askAgent(process.env.OFFSHOOT_GUEST_SOCKET ?? LOCAL_SOCKET, command.request);
  } catch (error) {
    writeSync(STDERR, `offshoot-guest: the agent cannot be reached: ${String(error)}\n`);
    return EXIT.agentUnreachable;
  }
  if (!answer.ok) {
    const { reason, message } = answer.error ?? { reason: '', message: 'refused' };
    writeSync(STDERR, `offshoot-guest: ${message}\n`);
    return EXIT_BY_REASON[reason] ?? EXIT.failed;
  }
  if (command.print !== undefined) writeSync(STDOUT, identityText(answer, command.print));
  if (answer.token !== undefined) writeSync(STDOUT, `${answer.token}\n`);
  if (answer.text !== undefined) await writeAll(Buffer.from(answer.text, 'utf8'));
  if (answer.base64 !== undefined) await writeAll(Buffer.from(answer.base64, 'base64'));
  return EXIT.done;
}

/** A payload is larger than a pipe, and a pipe that somebody made non-blocking takes only some of it at a time. */
function writeAll(bytes: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.once('error', reject);
    process.stdout.write(bytes, (error) => {
      if (error) reject(error);
      else resolve();
    });
  });
}

/** Lines are safe for a shell's `eval`: whatever would need quotes, which only a strange host name has, is an underscore. */
function identityText(answer: AgentAnswer, print: Print): string {
  const { hostname, machineId, mac, ipv4, gateway, generation } = answer;
  if (print === 'generation') return `${String(generation)}\n`;
  if (print === 'json') return `${JSON.stringify({ hostname, machineId, mac, ipv4, gateway, generation })}\n`;
  const lines = {
    HOSTNAME: hostname,
    MACHINE_ID: machineId,
    MAC: mac,
    IPV4: ipv4,
    GATEWAY: gateway,
    GENERATION: generation,
  };
  return Object.entries(lines)
    .map(([key, value]) => `${key}=${String(value).replace(/[^A-Za-z0-9._:-]/g, '_')}\n`)
    .join('');
}

run(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    writeSync(STDERR, `offshoot-guest: ${messageOf(error)}\n`); // whoever was to read the payload went away
    process.exitCode = EXIT.failed;
  },
);
