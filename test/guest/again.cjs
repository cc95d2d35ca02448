// Holds three mailboxes and arms each again after every delivery: "task" through the agent, with room for 240 KiB; "own" in
// a page of this program, which leaves a copy of every armed frame in another page; "bare" likewise, without copies, and
// unknown to the agent. Acknowledges with what it got.
'use strict';
const { createHash, randomBytes } = require('node:crypto');
const { closeSync, openSync, readFileSync, readSync } = require('node:fs');
const { connect } = require('node:net');
const { createInterface } = require('node:readline');
const { setTimeout: sleep } = require('node:timers/promises');

const PAGE = 4096;

/** A connection to the agent, which asks one thing after the other. */
function client() {
  const agent = connect('/run/offshoot/guest.sock');
  const answers = createInterface({ input: agent })[Symbol.asyncIterator]();
  return async (request) => {
    agent.write(`${JSON.stringify(request)}\n`);
    const answer = JSON.parse((await answers.next()).value);
    if (!answer.ok) throw new Error(`${request.op}: ${answer.error.message}`);
    return answer;
  };
}

const saying = (round, payload) =>
  JSON.stringify({ round, bytes: payload.length, sha256: createHash('sha256').update(payload).digest('hex') });

async function throughAgent() {
  const ask = client();
  for (let round = 1; ; round++) {
    await ask({ op: 'arm', name: 'task', capacityBytes: 245760 });
    console.log(`task is armed ${round}`);
    const { base64, text } = await ask({ op: 'wait', name: 'task' });
    const payload = base64 === undefined ? Buffer.from(text) : Buffer.from(base64, 'base64');
    await ask({ op: 'ack', name: 'task', detail: saying(round, payload) });
  }
}

/** Where this process has the page: its mappings begin where an ArrayBuffer of WebAssembly does. */
function addressOf(page) {
  const sign = randomBytes(16);
  sign.copy(page);
  const memory = openSync('/proc/self/mem', 'r');
  const found = Buffer.alloc(sign.length);
  try {
    for (const line of readFileSync('/proc/self/maps', 'latin1').split('\n')) {
      const [, start, end] = /^([0-9a-f]+)-([0-9a-f]+) rw-p/.exec(line) ?? [];
      if (start === undefined) continue;
      for (let at = BigInt(`0x${start}`); at < BigInt(`0x${end}`); at += BigInt(PAGE)) {
        readSync(memory, found, 0, found.length, at);
        if (found.equals(sign)) return at.toString(16);
      }
    }
  } finally {
    closeSync(memory);
  }
  throw new Error('the page is not there');
}

/** `leavesCopies`: in a page of its own each time. Without `attached` nobody is told of the mailbox, and it looks itself. */
async function inOwnMemory({ name, attached, leavesCopies }) {
  const ask = client();
  const memory = Buffer.from(new WebAssembly.Memory({ initial: 1 }).buffer);
  const page = memory.subarray(0, PAGE);
  const address = attached ? addressOf(page) : undefined;
  for (let round = 1; ; round++) {
    page.fill(0);
    page.write(name, 16);
    page.write('the same each time', 80);
    page.writeUInt16LE(1, 210);
    randomBytes(8).copy(page, 216);
    page.write('OFFSHOOT-MBOX-1\0', 0);
    page.writeUInt32LE(1, 212);
    if (leavesCopies) page.copy(memory, round * PAGE);
    if (attached) await ask({ op: 'attach', name, pid: process.pid, addresses: [address] });
    console.log(`${name} is armed ${round}`);
    if (attached) await ask({ op: 'watch', name });
    else while (page.readUInt32LE(224) === 0) await sleep(20);
    const payload = Buffer.from(page.subarray(256, 256 + page.readUInt32LE(228)));
    page.writeUInt32LE(3, 212);
    const nonce = page.readBigUInt64LE(248).toString(16).padStart(16, '0');
    const detail = encodeURIComponent(saying(round, payload));
    const fields = `mailbox=${name} generation=${page.readUInt32LE(224)} nonce=${nonce} stage=applied detail=${detail}`;
    await ask({ op: 'send-ack', line: `offshoot-ack v=1 ${fields}` });
  }
}

const mailboxes = [
  throughAgent(),
  inOwnMemory({ name: 'own', attached: true, leavesCopies: true }),
  inOwnMemory({ name: 'bare', attached: false, leavesCopies: false }),
];
for (const each of mailboxes)
  each.catch((error) => {
    console.log(`again: ${error.message}`);
  });
