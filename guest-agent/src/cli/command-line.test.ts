import { describe, expect, it } from 'vitest';
import { parseCommandLine } from './command-line.js';

const parse = (line: string) => parseCommandLine(line.split(' '));

describe('offshoot-guest', () => {
  it.each([
    ['mailbox arm task', { op: 'arm', name: 'task' }],
    ['mailbox arm task --token t', { op: 'arm', name: 'task', token: 't' }],
    ['mailbox arm task --capacity 204800', { op: 'arm', name: 'task', capacityBytes: 204800 }],
    ['mailbox arm task --capacity 1 --token t', { op: 'arm', name: 'task', token: 't', capacityBytes: 1 }],
    ['mailbox wait task', { op: 'wait', name: 'task' }],
    ['mailbox wait task --timeout 1.5', { op: 'wait', name: 'task', timeoutMs: 1500 }],
    ['mailbox ack task', { op: 'ack', name: 'task', stage: 'applied' }],
    ['mailbox ack task --detail fine', { op: 'ack', name: 'task', stage: 'applied', detail: 'fine' }],
    ['mailbox ack task --failed why', { op: 'ack', name: 'task', stage: 'failed', detail: 'why' }],
    ['mailbox dispose task', { op: 'dispose', name: 'task' }],
  ])('understands %s', (line, request) => {
    expect(parse(line)).toEqual({ request });
  });

  it.each([
    ['identity', 'lines'],
    ['identity --json', 'json'],
    ['generation', 'generation'],
  ])('understands %s', (line, print) => {
    expect(parse(line)).toEqual({ request: { op: 'identity' }, print });
  });

  it.each([
    'mailbox',
    'mailbox arm',
    'mailbox arm a b',
    'mailbox arm a --timeout 1',
    'mailbox arm a --capacity 1k',
    'mailbox arm a --capacity -1',
    'mailbox arm a --json',
    'mailbox wait a --capacity 1',
    'mailbox dispose a --token x',
    'identity --json task',
    'mailbox wait a --timeout soon',
    'mailbox wait a --timeout -1',
    'mailbox ack a --failed x --detail y',
    'mailbox sing a',
    'identity task',
    'identity --token x',
    'generation --json',
    'mailbox wait a --json',
    'mailbox arm a --what',
  ])('refuses %s', (line) => {
    expect(parse(line)).toBeUndefined();
  });
});
