// Arms "task", and in each fork acknowledges with what it got and who it is; then goes on counting. A task with
// {"silent": true} is not acknowledged, one with {"fail": TEXT} is refused.
'use strict';
const { connect } = require('node:net');
const { networkInterfaces } = require('node:os');
const { createInterface } = require('node:readline');

const agent = connect('/run/offshoot/guest.sock');
const answers = createInterface({ input: agent })[Symbol.asyncIterator]();
async function ask(request) {
  agent.write(`${JSON.stringify(request)}\n`);
  const answer = JSON.parse((await answers.next()).value);
  if (!answer.ok) throw new Error(answer.error.message);
  return answer;
}

let count = 0;
setInterval(() => console.log(`count ${++count}`), 50);

async function main() {
  for (;;) {
    await ask({ op: 'arm', name: 'task' });
    console.log('armed');
    const { text } = await ask({ op: 'wait', name: 'task' });
    const task = JSON.parse(text);
    const { address, mac } = networkInterfaces().eth0.find(({ family }) => family === 'IPv4');
    console.log(`task ${text}`);
    if (task.silent) continue;
    if (task.fail) await ask({ op: 'ack', name: 'task', stage: 'failed', detail: task.fail });
    else await ask({ op: 'ack', name: 'task', detail: JSON.stringify({ task, address, mac }) });
  }
}
main().catch((error) => console.error(`worker: ${error.message}`));
