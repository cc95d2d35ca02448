// Loaded into a test's daemon before the daemon itself (`node --import`): lists the steps that operations take, and ends the
// process right after the one that it is told. Both go through files, so that a daemon that runs can be told, too.
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SqliteJournal } from '@offshoot/host-agent/state/sqlite-journal.js';

const folder = process.env.OFFSHOOT_TEST_FOLDER;
const steps = join(folder, 'steps');
const order = join(folder, 'kill-after');
const operations = new Map();
const { begin, reached } = SqliteJournal.prototype;

function taken(step) {
  appendFileSync(steps, `${step}\n`);
  if (!existsSync(order)) return;
  const [, times, wanted] = /^(\d+) (.*)$/.exec(readFileSync(order, 'utf8'));
  if (wanted !== step) return;
  if (times === '1') process.kill(process.pid, 'SIGKILL');
  writeFileSync(order, `${String(Number(times) - 1)} ${step}`);
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
