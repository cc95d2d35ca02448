// Holds the mailbox "plain" by itself, amid frames under the same name that are each wrong in one thing, and others that
// nothing can be delivered to. Also arms "task" through the agent, and does what it says:
// {"flood": N} sends the host N datagrams that are no ack of its own, {"lines": [...]} sends these, each once.
'use strict';
const { randomBytes } = require('node:crypto');
const { createSocket } = require('node:dgram');
const { connect } = require('node:net');
const { createInterface } = require('node:readline');

const pages = new WebAssembly.Memory({ initial: 2 }).buffer; // 32 pages of 4096 bytes
let used = 0;
function arm(name, { nonce = randomBytes(8), segment = 0, segments = 1, state = 1, spoil = () => undefined } = {}) {
  const page = Buffer.from(pages, 4096 * used++, 4096);
  page.write(name, 16, 'latin1');
  page.write(randomBytes(16).toString('hex'), 80);
  page.writeUInt16LE(segment, 208);
  page.writeUInt16LE(segments, 210);
  nonce.copy(page, 216);
  page.write('OFFSHOOT-MBOX-1\0', 0);
  page.writeUInt32LE(state, 212);
  spoil(page);
  return page;
}

const crooked = [
  (page) => page.write('pl/ain', 16), // a character no name has
  (page) => page.fill('n', 16, 80).writeUInt8(0x20, 79), // 64 characters, the last a space
  (page) => page.writeUInt8(1, 79), // something behind the name's NULs
  (page) => page.fill(0, 80, 208), // no token
  (page) => page.writeUInt8(0xff, 80), // a token that is not UTF-8
  (page) => page.writeUInt8(1, 207), // something behind the token's NULs
  (page) => page.writeUInt16LE(0, 210), // no segments
  (page) => page.writeUInt16LE(65, 210), // too many
  (page) => page.writeUInt16LE(65535, 208), // a segment beyond the last
  (page) => page.writeUInt32LE(99, 212), // a state that is none
  (page) => page.writeUInt32LE(0xffffffff, 224), // a generation that cannot grow
];
for (const spoil of crooked) arm('plain', { spoil });
// Lengths are the host's to write: what stands there before means nothing.
const plain = arm('plain', { spoil: (page) => page.fill(0xff, 228, 4096) });
arm('used', { state: 3 });
arm('half', { segment: 1, segments: 2 });
const nonce = randomBytes(8);
const twin = arm('twins', { nonce });
twin.copy(Buffer.from(pages, 4096 * used++, 4096));
arm('homonyms');
arm('homonyms');

const look = setInterval(() => {
  const generation = plain.readUInt32LE(224);
  if (generation === 0) return;
  clearInterval(look);
  const payload = JSON.parse(plain.toString('utf8', 256, 256 + plain.readUInt32LE(228)));
  const ackNonce = plain.readBigUInt64LE(248).toString(16).padStart(16, '0');
  console.log(`plain ${ackNonce} ${JSON.stringify(payload)}`);
  if (payload.silent) return;
  const line = `offshoot-ack v=1 mailbox=plain generation=${generation} nonce=${ackNonce} stage=applied detail=${payload.number}`;
  const socket = createSocket('udp4');
  const send = () => socket.send(line, plain.readUInt16LE(238), plain.subarray(240, 244).join('.'), () => undefined);
  const again = setInterval(send, 100);
  socket.on('message', () => {
    clearInterval(again);
    socket.close();
  });
  send();
}, 20);

const agent = connect('/run/offshoot/guest.sock');
const answers = createInterface({ input: agent })[Symbol.asyncIterator]();
async function ask(request) {
  agent.write(`${JSON.stringify(request)}\n`);
  const answer = JSON.parse((await answers.next()).value);
  if (!answer.ok) throw new Error(answer.error.message);
  return answer;
}

// As many of each: another's nonce, which is wrong all but surely; half a line; and no text at all.
const noise = (i) =>
  [
    `offshoot-ack v=1 mailbox=task generation=1 nonce=${randomBytes(8).toString('hex')} stage=failed detail=flood`,
    'offshoot-ack v=1 mailbox=task generation=1',
    randomBytes(1400),
  ][i % 3];

async function main() {
  await ask({ op: 'arm', name: 'task' });
  const { text } = await ask({ op: 'wait', name: 'task' });
  const { flood = 0, lines = [], number = 0, host, port } = JSON.parse(text);
  const socket = createSocket('udp4');
  const send = (datagram) => new Promise((sent) => socket.send(datagram, port, host, sent));
  for (const line of lines) await send(line);
  for (let i = 0; i < flood; i++) await send(noise(i));
  console.log('sent');
  await ask({ op: 'ack', name: 'task', detail: String(number) });
  // And on, beside those who are right.
  for (let i = 0; i < flood; i++) await send(noise(i));
  console.log('sent all');
}
main().catch((error) => console.error(`hostile: ${error.message}`));
