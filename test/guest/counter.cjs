// Counts in its own memory and says each number: one that is missing, or said twice, shows that memory was lost.
'use strict';
let count = 0;
setInterval(() => console.log(`count ${++count}`), 50);
