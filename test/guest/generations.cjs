// Keeps the word each generation is given: in memory, and in a file of its own on the disk. Acknowledges with both, says at
// its start what it finds on the disk, and counts.
'use strict';
const { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, readdirSync, writeSync } = require('node:fs');
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

const folder = '/var/generations';
mkdirSync(folder, { recursive: true });
const onDisk = () =>
  readdirSync(folder)
    .sort()
    .map((name) => readFileSync(`${folder}/${name}`, 'latin1'));
function keep(path, text) {
  const file = openSync(path, 'w');
  writeSync(file, text);
  fsyncSync(file);
  closeSync(file);
}

console.log(`disk ${onDisk().join(' ')}`);
let count = 0;
setInterval(() => console.log(`count ${++count}`), 100);

async function main() {
  const inMemory = [];
  for (;;) {
    await ask({ op: 'arm', name: 'task' });
    console.log('armed');
    const word = JSON.parse((await ask({ op: 'wait', name: 'task' })).text);
    inMemory.push(word);
    keep(`${folder}/${inMemory.length}`, word);
    await ask({ op: 'ack', name: 'task', detail: JSON.stringify({ inMemory, onDisk: onDisk(), count }) });
  }
}
main().catch((error) => console.error(`generations: ${error.message}`));
