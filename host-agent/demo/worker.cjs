// What runs inside the VM of the demo: arms the mailbox "task" and waits. The VM is parked right here; each fork goes on
// from here with a task of its own in its memory, works on it, and acknowledges with the result.
'use strict';
const { connect } = require('node:net');
const { hostname, networkInterfaces } = require('node:os');
const { createInterface } = require('node:readline');

const agent = connect('/run/offshoot/guest.sock');
const answers = createInterface({ input: agent })[Symbol.asyncIterator]();

async function ask(request) {
  agent.write(`${JSON.stringify(request)}\n`);
  const answer = JSON.parse((await answers.next()).value);
  if (!answer.ok) throw new Error(answer.error.message);
  return answer;
}

function primesBelow(limit) {
  let count = 0;
  for (let n = 2; n < limit; n++) {
    let divisor = 2;
    while (divisor * divisor <= n && n % divisor !== 0) divisor++;
    if (divisor * divisor > n) count++;
  }
  return count;
}

async function main() {
  await ask({ op: 'arm', name: 'task' });
  console.log('armed, waiting for a task');
  const delivery = await ask({ op: 'wait', name: 'task' });
  const task = JSON.parse(delivery.text);
  const address = networkInterfaces().eth0?.find(({ family }) => family === 'IPv4')?.address;
  const detail = `${primesBelow(task.primesBelow)} primes below ${task.primesBelow}, counted at ${address}`;
  console.log(`${hostname()}: ${detail}`);
  await ask({ op: 'ack', name: 'task', stage: 'applied', detail });
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
