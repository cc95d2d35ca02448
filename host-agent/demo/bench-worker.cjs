// What runs inside the VM of the bench: arms the mailbox "task" and waits; every fork acknowledges with what it was given.
'use strict';
const { connect } = require('node:net');
const { createInterface } = require('node:readline');

const agent = connect('/run/offshoot/guest.sock');
const answers = createInterface({ input: agent })[Symbol.asyncIterator]();

async function ask(request) {
  agent.write(`${JSON.stringify(request)}\n`);
  const answer = JSON.parse((await answers.next()).value);
  if (!answer.ok) throw new Error(answer.error.message);
  return answer;
}

async function main() {
  await ask({ op: 'arm', name: 'task' });
  const { text } = await ask({ op: 'wait', name: 'task' });
  await ask({ op: 'ack', name: 'task', stage: 'applied', detail: text });
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
