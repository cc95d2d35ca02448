import { createInterface } from 'node:readline';
import { formatAck, formatNonce, parseAckOk, type AckStage } from '@offshoot/shared/mailbox/ack-line.js';
import { FRAME_SIZE } from '@offshoot/shared/mailbox/frame-layout.js';
import { readDelivery, readFrameHeader, readGeneration, type AckRoute } from '@offshoot/shared/mailbox/frame.js';
import { Corrupt } from '@offshoot/shared/errors.js';
import { armSegments, readSegments } from '@offshoot/shared/mailbox/segments.js';
import { MailboxError, arm, type Mailbox } from '../src/index.js';

/** The JavaScript library under the conformance suite: a request a line, an answer a line (sdk/conformance/library.ts). */
let mailbox: Mailbox | undefined;

const armed = (): Mailbox => {
  if (mailbox === undefined) throw new Error('nothing is armed');
  return mailbox;
};
const bytes = (field: string): Buffer => (field === '-' ? Buffer.alloc(0) : Buffer.from(field, 'hex'));
const text = (field: string): string => bytes(field).toString('utf8');
const hexed = (data: Buffer | string): string => Buffer.from(data).toString('hex') || '-';
const number = (field: string): bigint => BigInt(`0x${field}`);
const pagesOf = (memory: Buffer): Buffer[] =>
  Array.from({ length: memory.length / FRAME_SIZE }, (_, i) => memory.subarray(i * FRAME_SIZE, (i + 1) * FRAME_SIZE));
const routeOf = ({ transport, port, address, nonce }: AckRoute): string[] => [
  transport,
  String(port),
  address,
  formatNonce(nonce),
];

const REQUESTS: Readonly<Record<string, (...fields: string[]) => string[] | Promise<string[]>>> = {
  frames: (name = '', token = '', nonce = '', count = '') => {
    const memory = Buffer.alloc(Number(count) * FRAME_SIZE, 0xee);
    armSegments(pagesOf(memory), { name: text(name), token: text(token), nonce: number(nonce) });
    return [hexed(memory)];
  },
  header: (page = '') => {
    const { name, token, segmentIndex, segmentCount, nonce, state, generation } = readFrameHeader(bytes(page));
    return [
      hexed(name),
      hexed(token),
      String(segmentIndex),
      String(segmentCount),
      formatNonce(nonce),
      state,
      String(generation),
    ];
  },
  segment: (page = '') => {
    const { generation, contentType, payload, totalLength, ack } = readDelivery(bytes(page));
    return [String(generation), contentType, hexed(payload), String(totalLength), ...routeOf(ack)];
  },
  mailbox: (name = '', nonce = '', memory = '') => {
    const pages = pagesOf(bytes(memory));
    if (pages.some((page) => readGeneration(page) === 0)) return ['incomplete'];
    const [first = Buffer.alloc(0)] = pages;
    const { token } = readFrameHeader(first);
    const read = readSegments(pages, { name: text(name), token, nonce: number(nonce) });
    return [String(read.generation), read.contentType, hexed(read.payload), ...routeOf(read.ack)];
  },
  'ack-line': (name = '', generation = '', nonce = '', stage = '', detail = '') => [
    formatAck({
      mailbox: text(name),
      generation: Number(generation),
      nonce: number(nonce),
      stage: stage as AckStage,
      detail: text(detail),
    }),
  ],
  'ack-ok': (line = '') => {
    const nonce = parseAckOk(bytes(line));
    return [nonce === undefined ? 'none' : formatNonce(nonce)];
  },
  arm: async (name = '', token = '', capacity = '') => {
    mailbox = await arm(text(name), { token: token === '-' ? undefined : text(token), capacity: Number(capacity) });
    return [hexed(mailbox.token), String(mailbox.capacity)];
  },
  rearm: async (token = '') => {
    await armed().rearm(token === '-' ? undefined : text(token));
    return [hexed(armed().token)];
  },
  wait: async (timeoutMs = '', keep = '') => {
    const limit = timeoutMs === '-' ? undefined : Number(timeoutMs);
    const { generation, contentType, payload } = await armed().wait({ timeoutMs: limit, keep: keep === 'keep' });
    return [String(generation), contentType, hexed(payload)];
  },
  ack: async (stage = '', detail = '', timeoutMs = '') => [
    String(await armed().ack(stage as AckStage, text(detail), { timeoutMs: Number(timeoutMs) })),
  ],
  dispose: async () => {
    await armed().dispose();
    return ['ok'];
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const [request = '', ...fields] = line.split(' ');
  try {
    console.log(((await REQUESTS[request]?.(...fields)) ?? ['?']).join(' '));
  } catch (error) {
    if (error instanceof MailboxError) console.log(['!', error.reason, error.problem ?? ''].join(' ').trimEnd());
    else if (error instanceof Corrupt) console.log(`! ${error.reason} ${error.metadata.problem ?? ''}`);
    else throw error;
  }
}
