// Appends records of one block to its disk without a pause, each through to the disk before the next, and has in memory the
// number of the last that is there. Acknowledges "task" with that number, and writes no more.
'use strict';
const { open } = require('node:fs/promises');
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

// Written over and over beside each record, where it is to be fast that a disk has much to copy.
const ballast = Buffer.alloc(Number(process.env.BALLAST_BYTES ?? '0'), 'ballast');
const PLACES = 64;

let durable = 0;
let writing = true;
async function write() {
  const file = await open('/var/records', 'w');
  const other = await open('/var/ballast', 'w');
  while (writing) {
    const next = durable + 1;
    // A block of its own each: what a clone has lost of it, no later record puts there again.
    await file.write(Buffer.alloc(4096, `record ${next}\n`));
    await file.sync();
    if (ballast.length > 0) {
      await other.write(ballast, 0, ballast.length, (next % PLACES) * ballast.length);
      await other.sync();
    }
    durable = next;
    if (durable % 20 === 0) console.log(`durable ${durable}`);
  }
}

async function main() {
  await ask({ op: 'arm', name: 'task' });
  void write();
  await ask({ op: 'wait', name: 'task' });
  writing = false;
  await ask({ op: 'ack', name: 'task', detail: String(durable) });
}
main().catch((error) => console.error(`writer: ${error.message}`));
