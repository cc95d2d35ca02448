// Stands before the daemon in a test's daemon (build-daemons.ts): lists the steps that operations take, and right
// after the one that it is told ends the process, or the call as if its caller went away or its deadline passed. All goes
// through files, so that a daemon that runs can be told, too.
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { UnderWay } from '@offshoot/host-agent/app/under-way.js';
import { callCancelled, callDeadline } from '@offshoot/host-agent/grpc/error-status.js';
import { SqliteJournal } from '@offshoot/host-agent/state/sqlite-journal.js';

const folder = process.env.OFFSHOOT_TEST_FOLDER;
const steps = join(folder, 'steps');
const order = join(folder, 'order');
const operations = new Map();
const { begin, reached } = SqliteJournal.prototype;

const actions = {
  kill: () => process.kill(process.pid, 'SIGKILL'),
  cancel: () => latestCall.abort(callCancelled()),
  expire: () => latestCall.abort(callDeadline()),
};

// A call's signal says nothing of its controller.
const controllers = new WeakMap();
globalThis.AbortController = class extends AbortController {
  constructor() {
    super();
    controllers.set(this.signal, this);
  }
};
let latestCall;
const { signalFor } = UnderWay.prototype;
UnderWay.prototype.signalFor = function (signal) {
  latestCall = controllers.get(signal);
  return signalFor.call(this, signal);
};

function taken(step) {
  appendFileSync(steps, `${step}\n`);
  if (!existsSync(order)) return;
  const [, action, times, wanted] = /^(\w+) (\d+) (.*)$/.exec(readFileSync(order, 'utf8'));
  if (wanted !== step) return;
  writeFileSync(order, `${action} ${String(Number(times) - 1)} ${step}`);
  if (times === '1') actions[action]();
}

SqliteJournal.prototype.begin = function (entry) {
  const id = begin.call(this, entry);
  operations.set(id, entry.operation);
  taken(`${entry.operation}: begun`);
  return id;
};

// In an operation's own transaction nothing is taken yet: the kill comes when that has been committed.
const { atomically } = SqliteJournal.prototype;
let inTransaction;
SqliteJournal.prototype.atomically = function (work) {
  inTransaction = [];
  const result = atomically.call(this, work);
  const done = inTransaction;
  inTransaction = undefined;
  done.forEach(taken);
  return result;
};

SqliteJournal.prototype.reached = function (id, step, instance) {
  reached.call(this, id, step, instance);
  const named = `${operations.get(id)}: ${step}`;
  if (inTransaction === undefined) taken(named);
  else inTransaction.push(named);
};
