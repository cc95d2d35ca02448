// Says each credential it is given. One that is wiped for a capture is not said: it is empty by then, and we are frozen.
'use strict';
const { readFileSync, watch } = require('node:fs');
const file = '/run/offshoot/credential';
let last = '';
const look = () => {
  const credential = readFileSync(file, 'utf8');
  if (credential !== '' && credential !== last) console.log(`credential ${credential}`);
  last = credential;
};
watch(file, look);
look();
console.log('watching');
