// Writes MEBIBYTES of random data, then counts on its disk: each number is written through before it is said. Arms "task",
// and in each fork answers with what its disk holds, read from the disk itself; a task {"write": N} writes N MiB more.
'use strict';
const { connect } = require('node:net');
const { createHash, randomBytes } = require('node:crypto');
const { closeSync, fsyncSync, mkdirSync, openSync, readdirSync, readFileSync } = require('node:fs');
const { readSync, writeFileSync, writeSync } = require('node:fs');
const { createInterface } = require('node:readline');

const folder = '/var/data';
const MIB = 2 ** 20;
mkdirSync(folder, { recursive: true });

function write(name, mebibytes) {
  const hash = createHash('md5');
  const file = openSync(`${folder}/${name}`, 'w');
  for (let i = 0; i < mebibytes; i++) {
    const block = randomBytes(MIB);
    hash.update(block);
    writeSync(file, block);
  }
  fsyncSync(file);
  closeSync(file);
  return hash.digest('hex');
}

/** Sums of all files, by name. */
function sums() {
  writeFileSync('/proc/sys/vm/drop_caches', '1');
  const block = Buffer.alloc(MIB);
  return Object.fromEntries(
    readdirSync(folder).map((name) => {
      const hash = createHash('md5');
      const file = openSync(`${folder}/${name}`, 'r');
      for (let read; (read = readSync(file, block)) > 0;) hash.update(block.subarray(0, read));
      closeSync(file);
      return [name, hash.digest('hex')];
    }),
  );
}

let count = 0;
const counts = openSync('/var/counts', 'a');
const churn = openSync('/var/churn', 'w');
function countOn() {
  writeSync(counts, `${++count}\n`);
  fsyncSync(counts);
  console.log(`count ${count}`);
  writeSync(churn, Buffer.alloc(MIB / 2, count), 0, MIB / 2, (count % 32) * (MIB / 2));
  setTimeout(countOn, 50);
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
  const mebibytes = Number(process.env.MEBIBYTES);
  if (mebibytes > 0) console.log(`wrote first ${write('first', mebibytes)}`);
  countOn();
  for (;;) {
    await ask({ op: 'arm', name: 'task' });
    console.log('armed');
    const task = JSON.parse((await ask({ op: 'wait', name: 'task' })).text);
    const answer = { sums: sums() };
    const onDisk = readFileSync('/var/counts', 'utf8').trimEnd().split('\n').map(Number);
    answer.counts = onDisk.length === count && onDisk.every((n, i) => n === i + 1);
    if (task.write) answer.wrote = write(task.name, task.write);
    await ask({ op: 'ack', name: 'task', detail: JSON.stringify(answer) });
  }
}
main().catch((error) => console.error(`worker: ${error.message}`));
