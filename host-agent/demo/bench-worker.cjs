// What runs inside the VM of the bench: arms the mailbox "task" and waits; every fork acknowledges with what it was given.
// Before that it arms as many as MORE_MAILBOXES says, of CAPACITY_BYTES each, which it leaves alone.
// With DIRTY_MIB it also writes into each page of so much memory, over and over, and says "pass N" after each round.
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
  const more = Number(process.env.MORE_MAILBOXES ?? 0);
  const capacityBytes = Number(process.env.CAPACITY_BYTES ?? 0);
  for (let i = 1; i <= more; i++) await ask({ op: 'arm', name: `more-${i}`, capacityBytes });
  for (;;) {
    await ask({ op: 'arm', name: 'task' });
    const { text } = await ask({ op: 'wait', name: 'task' });
    await ask({ op: 'ack', name: 'task', stage: 'applied', detail: text });
  }
}

function writeAll(memory) {
  let pass = 0;
  setInterval(() => {
    pass += 1;
    for (let at = 0; at < memory.length; at += 4096) memory.writeUInt32LE(pass, at);
    console.log(`pass ${pass}`);
  }, 250);
}
const dirtyMib = Number(process.env.DIRTY_MIB ?? 0);
if (dirtyMib > 0) writeAll(Buffer.alloc(dirtyMib * 2 ** 20));

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
