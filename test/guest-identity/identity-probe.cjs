// "loop": says who it is as fast as it can, a line each 5 ms and at every change, with a random number of the kernel's.
// "clock": has the time in a page of its memory that begins with the second argument, and says so. "count": counts, and also says what it acknowledges with.
// Both acknowledge "task" in each fork with all that must be the fork's own.
'use strict';
const { execFileSync } = require('node:child_process');
const { openSync, readFileSync, readSync } = require('node:fs');
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
const random = openSync('/dev/urandom', 'r');
function randomHex(length) {
  const bytes = Buffer.alloc(length);
  readSync(random, bytes);
  return bytes.toString('hex');
}
const text = (path) => readFileSync(path, 'latin1').trim();
const run = (program, ...args) => execFileSync(program, args, { encoding: 'utf8' }).trim();

let [said, saidAt, turn] = ['', 0, 0];
function loop() {
  turn += 1;
  const now = performance.now();
  const card = networkInterfaces().eth0.find(({ family }) => family === 'IPv4');
  const who = `${card.address} ${hostname()}`;
  if (who !== said || now - saidAt > 5) {
    [said, saidAt] = [who, now];
    console.log(`who ${who} ${randomHex(8)} ${turn}`);
  }
  setImmediate(loop);
}

async function main() {
  for (;;) {
    await ask({ op: 'arm', name: 'task' });
    await ask({ op: 'wait', name: 'task' });
    const [, ...own] = text('/etc/hosts').split('\n').at(-1).split(' ');
    const detail = {
      random: randomHex(32),
      uuid: run(process.execPath, '-p', 'crypto.randomUUID()'),
      files: { hostname: text('/etc/hostname'), machineId: text('/etc/machine-id'), hosts: own.join(' ') },
      ipv6: text('/proc/net/if_inet6')
        .split('\n')
        .filter((line) => line.endsWith('eth0')).length,
      generation: text('/run/offshoot/generation'),
      identity: JSON.parse(run('offshoot-guest', 'identity', '--json')),
    };
    if (mode === 'count') console.log(`probe ${JSON.stringify(detail)}`);
    await ask({ op: 'ack', name: 'task', detail: JSON.stringify(detail) });
  }
}

const [mode, mark] = process.argv.slice(2);
if (mode === 'loop') loop();
else if (mode === 'count') {
  let count = 0;
  setInterval(() => console.log(`count ${++count}`), 200);
} else {
  const page = Buffer.from(new WebAssembly.Memory({ initial: 1 }).buffer); // page-aligned
  page.write(mark, 'latin1');
  setInterval(() => page.writeDoubleLE(Date.now(), 64), 1);
  console.log('clock runs');
}
main().catch((error) => console.error(`probe: ${error.message}`));
