// Loaded into a test's daemon before the daemon itself (`node --import`): lists the calls of node:fs that touch a folder, and
// which of them changed what is in it, however they are called; and right after the one that it is told ends the process.
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join, relative } from 'node:path';

const { appendFileSync, existsSync, lstatSync, readFileSync, readdirSync, writeFileSync } = fs;
const watched = process.env.OFFSHOOT_TEST_WATCHED;
const steps = join(process.env.OFFSHOOT_TEST_FOLDER, 'steps');
const order = join(process.env.OFFSHOOT_TEST_FOLDER, 'order');
/** May be emptied at any time. */
const CACHE = '.cache';

/** Every name below the folder, with what stands behind it. */
function content(folder = watched) {
  const lines = [];
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    const stats = name === CACHE ? undefined : lstatSync(path, { throwIfNoEntry: false });
    if (stats === undefined) continue;
    lines.push(`${path} ${String(stats.ino)} ${String(stats.size)} ${String(stats.mtimeMs)}`);
    if (stats.isDirectory()) lines.push(content(path));
  }
  return lines.sort().join('\n');
}

let before = content();

function taken(call, target) {
  const path = Buffer.isBuffer(target) ? target.toString() : target; // recursive removal has these
  if (typeof path !== 'string' || !path.startsWith(watched)) return;
  const place = relative(watched, path);
  if (place.startsWith(CACHE)) return;
  const now = content();
  appendFileSync(steps, `${JSON.stringify({ call, place, changed: now !== before })}\n`);
  before = now;
  if (!existsSync(order)) return;
  const left = Number(readFileSync(order, 'utf8')) - 1;
  writeFileSync(order, String(left));
  if (left === 0) process.kill(process.pid, 'SIGKILL');
}

/** Of those with callbacks one at a time, so that what changed was changed by the one that has just ended. */
let turn = Promise.resolve();

function watch(name, call) {
  if (name.endsWith('Sync'))
    return (...args) => {
      const result = call(...args);
      taken(name, args[0]);
      return result;
    };
  return (...args) => {
    const callback = args.pop();
    if (typeof callback !== 'function') return call(...args, callback);
    turn = turn.then(
      () =>
        new Promise((over) => {
          call(...args, (...results) => {
            taken(name, args[0]);
            over();
            callback(...results);
          });
        }),
    );
  };
}

const isCall = (name, value) =>
  typeof value === 'function' && /^[a-z]/.test(name) && !/^(create|watch|unwatch)/.test(name);

for (const [name, call] of Object.entries(fs))
  if (isCall(name, call)) fs[name] = Object.assign(watch(name, call), call);
for (const [name, call] of Object.entries(fs.promises))
  if (isCall(name, call))
    fs.promises[name] = async (...args) => {
      const result = await call(...args);
      taken(`promises.${name}`, args[0]);
      return result;
    };
syncBuiltinESMExports();
