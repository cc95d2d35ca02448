import { existsSync, readFileSync } from 'node:fs';
import { DOUBLE_VERSION } from './firecracker-double.js';
import { serveDouble, type Misbehaviour } from './double-server.js';

/** The double as a program, with as much of Firecracker's command line as is used of it. */
const [option, value] = process.argv.slice(2);
if (option === '--version') console.log(`Firecracker v${DOUBLE_VERSION}`);
else if (option === '--api-sock' && value !== undefined) {
  const note = 'misbehaviour.json';
  const misbehaviour = existsSync(note) ? (JSON.parse(readFileSync(note, 'utf8')) as Misbehaviour) : undefined;
  console.log('the double listens');
  await serveDouble(value, process.cwd(), () => process.exit(1), misbehaviour);
} else {
  console.error(`unknown option ${String(option)}`);
  process.exit(153);
}
