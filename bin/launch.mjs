// launch.mjs NAME SCRIPT ARG...: runs host-agent/dist/SCRIPT in this process, or says in one sentence why it cannot.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const MINIMUM_NODE = 20;
const [node, , name, script, ...args] = process.argv;
const path = fileURLToPath(new URL(`../host-agent/dist/${script}`, import.meta.url));

function refuse(why) {
  process.stderr.write(`${name}: ${why}\n`);
  process.exit(1);
}

if (Number(process.versions.node.split('.')[0]) < MINIMUM_NODE)
  refuse(`Node.js ${MINIMUM_NODE} or later is needed, but this is ${process.versions.node} ("make setup" installs it)`);
if (!existsSync(path)) refuse('this checkout is not built: run "make build" first');
process.argv = [node, path, ...args];
await import(path);
