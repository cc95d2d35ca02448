// Fills 5000 pages with good frames, of which one is called "plain", and arms "task" through the agent; acknowledges it.
'use strict';
const { connect } = require('node:net');
const { createInterface } = require('node:readline');

const FRAMES = 5000;
const memory = Buffer.from(new WebAssembly.Memory({ initial: Math.ceil((FRAMES * 4096) / 65536) }).buffer);
for (let i = 0; i < FRAMES; i++) {
  const page = memory.subarray(i * 4096, (i + 1) * 4096);
  page.write(i === FRAMES / 2 ? 'plain' : `frame-${i}`, 16);
  page.write('token', 80);
  page.writeUInt16LE(1, 210);
  page.writeUInt32LE(i, 216);
  page.write('OFFSHOOT-MBOX-1\0', 0);
  page.writeUInt32LE(1, 212);
}

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
  await ask({ op: 'ack', name: 'task', detail: text });
}
main().catch((error) => console.error(`flood: ${error.message}`));
