// Arms "held" through the agent under the token "held-token", and in its own memory "own" of two segments under "own-token",
// and two of the three segments of "torn" under "torn-token". Says "armed", and does nothing more.
'use strict';
const { connect } = require('node:net');
const { randomBytes } = require('node:crypto');

const kept = [];

function arm(name, token, count, present) {
  const nonce = randomBytes(8);
  for (const index of present) {
    const page = Buffer.from(new WebAssembly.Memory({ initial: 1 }).buffer, 0, 4096);
    kept.push(page);
    page.write(name, 16);
    page.write(token, 80);
    page.writeUInt16LE(index, 208);
    page.writeUInt16LE(count, 210);
    nonce.copy(page, 216);
    page.write('OFFSHOOT-MBOX-1\0', 0);
    page.writeUInt32LE(1, 212);
  }
}

arm('own', 'own-token', 2, [0, 1]);
arm('torn', 'torn-token', 3, [0, 2]);
const agent = connect('/run/offshoot/guest.sock');
agent.write(`${JSON.stringify({ op: 'arm', name: 'held', token: 'held-token' })}\n`);
agent.once('data', () => console.log('armed'));
