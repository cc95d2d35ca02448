// Counts in memory, and keeps on its disk how often it was started.
'use strict';
const { existsSync, fsyncSync, openSync, readFileSync, writeSync } = require('node:fs');
const path = '/var/starts';
const starts = (existsSync(path) ? Number(readFileSync(path, 'utf8')) : 0) + 1;
const file = openSync(path, 'w');
writeSync(file, String(starts));
fsyncSync(file);
console.log(`start ${starts}`);
let count = 0;
setInterval(() => console.log(`count ${++count}`), 50);
